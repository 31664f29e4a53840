// The built-in plans: all of a plan but its channels.
import type { PlanSettings } from "./plan.ts";

export type Preset = Omit<PlanSettings, "channels">;

/** For machines with several channels, whose faults last: one row a second or so. */
const machines: Preset = {
  commissioningRows: 400,
  features: {
    version: 1,
    reference: {
      kind: "gated_baseline",
      memoryRows: 200,
      meanRows: 32,
      gate: 5,
      scaleFromRow: 65,
      fleetFloor: 0.5,
      rollBackRows: 64,
      adaptation: { upRows: 900, downRows: 6000, atMost: 6 },
    },
    season: null,
    squash: 4,
    columns: [{ kind: "means", rows: [8, 32, 64] }],
  },
  model: { kind: "dense_autoencoder", hidden: [12, 2, 12] },
  score: { largest: 2, trailingRows: 4 },
  training: {
    learningRate: 0.1,
    batchRows: 50,
    triggerRows: 50,
    triggerMs: 60_000,
    passes: 2,
    learnFrom: "recent_rows",
    loss: { kind: "squared" },
    optimiser: { kind: "momentum", momentum: 0.9 },
    clip: 2.5,
    l2: 0,
    proximal: 0,
    seed: 1,
    codec: { kind: "int8" },
  },
  threshold: { rule: { kind: "federated_conformal", quantile: 0.999 }, rows: 300 },
  excursion: { clearBelow: 0.8, belowPeak: 0.5, releaseRows: 64, releaseAfterMs: 86_400_000 },
  alarm: { kind: "lasting" },
};

/** For one measured quantity whose events are rare points: told once, at their onset. */
const univariate: Preset = {
  commissioningRows: 600,
  features: {
    version: 1,
    reference: {
      kind: "gated_baseline",
      memoryRows: 2000,
      meanRows: 1,
      gate: 5,
      scaleFromRow: 100,
      fleetFloor: 0,
      rollBackRows: 0,
      adaptation: null,
    },
    season: { period: "day", bins: 24 },
    squash: 4,
    columns: [{ kind: "means", rows: [1, 8, 32] }],
  },
  model: { kind: "dense_autoencoder", hidden: [8, 1, 8] },
  score: { largest: 1, trailingRows: 1 },
  training: { ...machines.training },
  threshold: { rule: { kind: "spot", level: 0.98, risk: 1e-3, maxExcesses: 1000 }, rows: 500 },
  excursion: { clearBelow: 0.8, belowPeak: 0.5, releaseRows: 32, releaseAfterMs: 86_400_000 },
  alarm: { kind: "onset", refractoryMs: 3_600_000 },
};

/** For sites that have ground truth: a logistic classifier, learned from labelled rows alone. */
const labelled: Preset = {
  commissioningRows: 100,
  features: {
    version: 1,
    reference: { kind: "normaliser", rows: 2000 },
    season: null,
    squash: 1,
    columns: [
      { kind: "window", rows: 1 },
      { kind: "rolling", rows: 100, statistics: ["mean", "std", "z"] },
    ],
  },
  model: { kind: "classifier", hidden: [] },
  score: { largest: null, trailingRows: 1 },
  training: {
    ...machines.training,
    learningRate: 0.01,
    learnFrom: "new_rows",
    loss: { kind: "cross_entropy" },
    optimiser: { kind: "sgd" },
    clip: null,
  },
  threshold: { rule: { kind: "fixed", threshold: 0.5 }, rows: 100 },
  excursion: null,
  alarm: { kind: "lasting" },
};

/** As machines, but that trees are grown and pooled: nothing is descended, and an update is a whole forest. */
const forest: Preset = {
  ...machines,
  model: { kind: "isolation_forest", trees: 100, subsampleRows: 256 },
  score: { largest: null, trailingRows: 4 },
  training: { ...machines.training, triggerRows: 300, triggerMs: 3_600_000, codec: { kind: "float32" } },
  threshold: { rule: { kind: "federated_conformal", quantile: 0.99 }, rows: 300 },
};

export const presets = { machines, univariate, labelled, forest } as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

/** The plan that says all of `given` and takes the rest from the preset; of its training settings each. */
export function fromPreset(
  name: PresetName,
  given: Readonly<Record<string, unknown>> & { readonly training?: Readonly<Record<string, unknown>> | undefined },
): Readonly<Record<string, unknown>> {
  const preset = presets[name];
  return { ...preset, ...given, training: { ...preset.training, ...given.training } };
}
