// Small valid plans for tests.
import { PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import type { ColumnSettings, FeatureSettings, PlanSettings, TrainingSettings } from "../../learning/plan.ts";

export const TRAINING: TrainingSettings = {
  learningRate: 0.01,
  batchRows: 50,
  triggerRows: 50,
  triggerMs: 60_000,
  passes: 1,
  learnFrom: "new_rows",
  loss: { kind: "squared" },
  optimiser: { kind: "sgd" },
  clip: null,
  l2: 0,
  proximal: 0,
  seed: 1,
  codec: { kind: "float32" },
};

/** Columns over a streaming normaliser of 2000 rows. */
export function featuresOf(...columns: ColumnSettings[]): FeatureSettings {
  return { version: 1, reference: { kind: "normaliser", rows: 2000 }, season: null, squash: 1, columns };
}

/** Every residual counts, a row is judged by its own score against the threshold alone, an alarm tells of what lasts. */
export const JUDGING = {
  score: { largest: null, trailingRows: 1 },
  excursion: null,
  alarm: { kind: "lasting" },
} as const;

export const testPlan: PlanSettings = {
  channels: [
    { name: "vibration", unit: "mm/s" },
    { name: "Volume Flow RateRMS", unit: "l/min" },
    { name: "temperature", unit: "°C" },
  ],
  commissioningRows: 100,
  ...JUDGING,
  features: featuresOf({ kind: "window", rows: 2 }, { kind: "rolling", rows: 100, statistics: ["mean", "z"] }),
  model: { kind: "dense_autoencoder", hidden: [5, 4] },
  training: TRAINING,
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 500 },
};

export const testForecaster: PlanSettings = {
  ...testPlan,
  features: featuresOf({ kind: "window", rows: 3 }),
  model: { kind: "dense_forecaster", hidden: [4] },
};

/** For rows of the demo's plant; the first 250 of a held-out stream are its head. */
export const pumpPlan: PlanSettings = {
  channels: PLANT_CHANNELS,
  commissioningRows: 100,
  ...JUDGING,
  features: featuresOf({ kind: "window", rows: 1 }),
  model: { kind: "dense_autoencoder", hidden: [3] },
  training: { ...TRAINING, seed: 5 },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 150 },
};

/** A forest over rows of the demo's plant, of which a tree is grown from 64. */
export const forestPlan: PlanSettings = {
  ...pumpPlan,
  model: { kind: "isolation_forest", trees: 20, subsampleRows: 64 },
  training: { ...pumpPlan.training, learnFrom: "recent_rows" },
};
