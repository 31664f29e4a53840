// A plan that learns within seconds: two channels of a pump, a short commissioning.
import type { PlanSettings } from "../../learning/plan.ts";
import { JUDGING, TRAINING } from "./plan-settings.ts";

export const smallSettings = (): PlanSettings => ({
  channels: [
    { name: "flow", unit: "l/min" },
    { name: "current", unit: "A" },
  ],
  commissioningRows: 10,
  ...JUDGING,
  features: {
    version: 1,
    reference: { kind: "normaliser", rows: 200 },
    season: null,
    squash: 1,
    columns: [
      { kind: "window", rows: 1 },
      { kind: "rolling", rows: 20, statistics: ["mean", "std"] },
    ],
  },
  model: { kind: "dense_autoencoder", hidden: [3] },
  training: { ...TRAINING, learningRate: 0.05, triggerMs: 3_600_000, passes: 2, seed: 7 },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 200 },
});
