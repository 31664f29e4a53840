// A small valid plan for tests.
import type { PlanSettings } from "../../learning/plan.ts";

export const testPlan: PlanSettings = {
  channels: [
    { name: "vibration", unit: "mm/s" },
    { name: "Volume Flow RateRMS", unit: "l/min" },
    { name: "temperature", unit: "°C" },
  ],
  commissioningRows: 100,
  normaliserRows: 2000,
  features: { windowRows: 2, rollingRows: 100, rolling: ["mean", "z"] },
  model: { kind: "dense_autoencoder", hidden: [5, 4] },
  training: {
    learningRate: 0.01,
    batchRows: 50,
    triggerRows: 50,
    triggerMs: 60_000,
    passes: 1,
    seed: 1,
    codec: { kind: "float32" },
  },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 500 },
};

export const testForecaster: PlanSettings = {
  ...testPlan,
  features: { windowRows: 3, rollingRows: 100, rolling: [] },
  model: { kind: "dense_forecaster", hidden: [4] },
};
