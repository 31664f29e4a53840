// A plan that learns within seconds: two channels of a pump, a short commissioning.
import type { PlanSettings } from "../../learning/plan.ts";

export const smallSettings = (): PlanSettings => ({
  channels: [
    { name: "flow", unit: "l/min" },
    { name: "current", unit: "A" },
  ],
  commissioningRows: 10,
  normaliserRows: 200,
  features: { windowRows: 1, rollingRows: 20, rolling: ["mean", "std"] },
  model: { kind: "dense_autoencoder", hidden: [3] },
  training: {
    learningRate: 0.05,
    batchRows: 50,
    triggerRows: 50,
    triggerMs: 3_600_000,
    passes: 2,
    seed: 7,
    codec: { kind: "float32" },
  },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 200 },
});
