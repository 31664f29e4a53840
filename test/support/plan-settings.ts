// Small valid plans for tests.
import { PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import type { PlanSettings, TrainingSettings } from "../../learning/plan.ts";

export const TRAINING: TrainingSettings = {
  learningRate: 0.01,
  batchRows: 50,
  triggerRows: 50,
  triggerMs: 60_000,
  passes: 1,
  seed: 1,
  codec: { kind: "float32" },
};

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
  training: TRAINING,
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 500 },
};

export const testForecaster: PlanSettings = {
  ...testPlan,
  features: { windowRows: 3, rollingRows: 100, rolling: [] },
  model: { kind: "dense_forecaster", hidden: [4] },
};

/** For rows of the demo's plant; the first 250 of a held-out stream are its head. */
export const pumpPlan: PlanSettings = {
  channels: PLANT_CHANNELS,
  commissioningRows: 100,
  normaliserRows: 2000,
  features: { windowRows: 1, rollingRows: 50, rolling: [] },
  model: { kind: "dense_autoencoder", hidden: [3] },
  training: { ...TRAINING, seed: 5 },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 150 },
};
