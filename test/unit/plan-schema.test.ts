// What a plan may say.
import fc from "fast-check";
import { expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import { DeviceMonitor } from "../../learning/monitor.ts";
import type { ThresholdRule } from "../../learning/threshold-rules.ts";
import { describeFaults, manifestSchema, planSettingsSchema } from "../../proto/plan-schema.ts";
import { PLAN_MIXES } from "../support/plan-mixes.ts";
import { featuresOf, forestPlan, testForecaster, testPlan } from "../support/plan-settings.ts";

/** The faults of `plan`, or "accepted". */
function verdict(plan: object): string {
  const parsed = planSettingsSchema.safeParse(plan);
  return parsed.success ? "accepted" : describeFaults(parsed.error);
}

const [first, ...others] = testPlan.channels;

test("a valid plan is taken as it is", () => {
  expect(planSettingsSchema.parse(testPlan)).toEqual(testPlan);
  expect(verdict(testForecaster)).toBe("accepted");
});

test("a plan that names no codec sends float32, and any codec can be named", () => {
  const { codec: _, ...silent } = testPlan.training;
  expect(planSettingsSchema.parse({ ...testPlan, training: silent }).training.codec).toEqual({ kind: "float32" });
  for (const codec of [{ kind: "int8" }, { kind: "top_k_int8", share: 1 }])
    expect(planSettingsSchema.parse({ ...testPlan, training: { ...silent, codec } }).training.codec).toEqual(codec);
});

test("what a plan leaves out is filled in", () => {
  const { channels, commissioningRows, model, threshold } = testPlan;
  const { learningRate, batchRows, triggerRows, triggerMs, passes, seed } = testPlan.training;
  const training = { learningRate, batchRows, triggerRows, triggerMs, passes, seed };
  const { reference, columns } = testPlan.features;
  const plan = { channels, commissioningRows, features: { reference, columns }, model, training, threshold };
  expect(planSettingsSchema.parse(plan)).toEqual(testPlan);
});

const fixed = { kind: "fixed", threshold: 0.9 } as const;
const withFixed = { ...testPlan.threshold, rule: fixed };

test("every mix of model, loss, optimiser and penalties is a plan, a classifier's with a fixed threshold", () => {
  for (const plan of PLAN_MIXES)
    expect(verdict(plan.model.kind === "classifier" ? { ...plan, threshold: withFixed } : plan)).toBe("accepted");
});

const classifier = {
  model: { kind: "classifier", hidden: [] },
  training: { ...testPlan.training, loss: { kind: "cross_entropy" } },
  threshold: withFixed,
};
const gated = (scaleFromRow: number) => ({
  features: { ...testPlan.features, reference: { kind: "gated_baseline", memoryRows: 200, scaleFromRow } },
});

test("a gated baseline may take its scale from the last commissioning row on", () => {
  expect(verdict({ ...testPlan, ...gated(99) })).toBe("accepted");
});

const manyChannels = Array.from({ length: 51 }, (_, at) => ({ name: `c${at}`, unit: "" }));
const keepsRows = (rows: number) => ({
  channels: manyChannels,
  features: featuresOf({ kind: "window", rows: 2 }),
  threshold: { ...testPlan.threshold, rows },
});
const tooManyRows = keepsRows(39_216);
const tooManyRowsFault =
  "threshold.rows: 39216 rows of 102 features, by features.columns, are 4000032 values a device; at most 4000000";

test("a device may keep 16 MB of calibration rows", () => {
  expect(verdict({ ...testPlan, ...keepsRows(39_215) })).toBe("accepted");
});

const withCodec = (codec: object) => ({ training: { ...testPlan.training, codec } });

test.each<[string, object, string]>([
  ["no channel", { channels: [] }, "channels"],
  ["two channels of one name", { channels: [first, first] }, "channels: two channels have the same name"],
  ["a channel name with a control character", { channels: [{ name: "a\nb", unit: "" }] }, "channels.0.name"],
  ["a channel called as a label", { channels: [{ name: "Is_Anomaly", unit: "" }] }, "channels.0.name: is what a label"],
  ["a unit that can't be printed", { channels: [{ name: "a", unit: "\u0000" }] }, "channels.0.unit"],
  [
    "too many channels",
    { channels: Array.from({ length: 257 }, (_, at) => ({ name: `c${at}`, unit: "" })) },
    "channels",
  ],
  ["an unknown key", { chanels: others }, "chanels"],
  ["a window too long to be built", { features: featuresOf({ kind: "window", rows: 1e9 }) }, "features.columns.0.rows"],
  ["a quantile of 1", { threshold: { rule: { kind: "quantile", quantile: 1 }, rows: 500 } }, "threshold.rule.quantile"],
  [
    "a conformal share too small for its rows",
    { threshold: { rule: { kind: "conformal", alpha: 0.001 }, rows: 500 } },
    "threshold.rows: conformal needs 999 scores; 500 rows and score.trailingRows of 1 give 500",
  ],
  [
    "too few rows for SPOT",
    { threshold: { rule: { kind: "spot", level: 0.98, risk: 0.001, maxExcesses: 100 }, rows: 60 } },
    "threshold.rows",
  ],
  [
    "scores over more rows than are kept",
    { threshold: { ...testPlan.threshold, rows: 30 }, score: { largest: null, trailingRows: 2 } },
    "threshold.rows: quantile needs 30 scores; 30 rows and score.trailingRows of 2 give 29",
  ],
  [
    "a classifier's scores over more rows than are kept",
    { ...classifier, threshold: { rule: fixed, rows: 30 }, score: { largest: null, trailingRows: 31 } },
    "threshold.rows: fixed needs 1 scores; 30 rows and score.trailingRows of 31 give 0",
  ],
  ["more than 16 MB of calibration rows", tooManyRows, tooManyRowsFault],
  [
    "more than 16 MB of readings to look back at",
    { channels: manyChannels, features: featuresOf({ kind: "rolling", rows: 40_000, statistics: ["z"] }) },
    "features: the rows they look at are 2040000 values a device; at most 2000000 are allowed",
  ],
  ["an infinite rate", { training: { ...testPlan.training, learningRate: Infinity } }, "training.learningRate"],
  ["an unknown codec", withCodec({ kind: "zip" }), "training.codec"],
  ["top-k without a share", withCodec({ kind: "top_k" }), "training.codec.share"],
  ["top-k of nothing", withCodec({ kind: "top_k_int8", share: 0 }), "training.codec.share"],
  ["top-k of more than all", withCodec({ kind: "top_k", share: 1.01 }), "training.codec.share"],
  ["a share of int8", withCodec({ kind: "int8", share: 0.5 }), "training.codec"],
  [
    "a statistic named twice",
    { features: featuresOf({ kind: "rolling", rows: 9, statistics: ["z", "z"] }) },
    "features.columns.0.statistics",
  ],
  ["a layer without units", { model: { kind: "dense_autoencoder", hidden: [0] } }, "model.hidden.0"],
  ["an autoencoder without layers", { model: { kind: "dense_autoencoder", hidden: [] } }, "at least one hidden layer"],
  ["a model that is too large", { model: { kind: "dense_autoencoder", hidden: [4096, 4096] } }, "at most 1000000"],
  [
    "a forecaster over statistics",
    { model: testForecaster.model },
    "model: a dense_forecaster needs features.columns to be exactly one of kind window",
  ],
  ["a momentum of 1", { training: { ...testPlan.training, optimiser: { kind: "momentum", momentum: 1 } } }, "momentum"],
  ["a fixed threshold for errors", { threshold: withFixed }, "threshold.rule.kind: fixed is a classifier's alone"],
  [
    "a classifier's fitted threshold",
    { ...classifier, threshold: testPlan.threshold },
    "threshold.rule.kind: a classifier needs fixed, not quantile",
  ],
  [
    "a classifier's federated threshold",
    { ...classifier, threshold: { rows: 500, rule: { kind: "federated_conformal", quantile: 0.99 } } },
    "threshold.rule.kind: a classifier needs fixed, not federated_conformal",
  ],
  [
    "a classifier that learns from unlabelled rows",
    { ...classifier, training: { ...classifier.training, learnFrom: "recent_rows" } },
    "training.learnFrom: a classifier needs new_rows, not recent_rows",
  ],
  [
    "a classifier's squared loss",
    { ...classifier, training: testPlan.training },
    "model: a classifier needs training.loss of kind cross_entropy",
  ],
  [
    "a scale from rows after commissioning",
    gated(100),
    "features.reference.scaleFromRow: 100 must be below commissioningRows, 100",
  ],
])("%s is refused, and the fault names its place", (_, change, fault) => {
  expect(verdict({ ...testPlan, ...change })).toContain(fault);
});

test("a plan says which layers are fine-tuned, and nothing where none are", () => {
  const tuned = { ...testPlan, fineTuning: { layers: 1 } };
  expect(planSettingsSchema.parse(tuned)).toEqual({ ...testPlan, fineTuning: { layers: 1, passes: 10 } });
  expect(compilePlan(planSettingsSchema.parse(tuned)).manifest).toMatchObject({ fineTuning: { layers: 1 } });
  expect(compilePlan(planSettingsSchema.parse(testPlan)).manifest).not.toHaveProperty("fineTuning");
});

test.each<[string, object, string]>([
  ["more layers than there are", { ...testPlan, fineTuning: { layers: 9 } }, "fineTuning.layers: 9; the model has 3"],
  ["no layer", { ...testPlan, fineTuning: { layers: 0 } }, "fineTuning.layers: "],
  ["endless passes", { ...testPlan, fineTuning: { layers: 1, passes: 1e6 } }, "fineTuning.passes: "],
  ["trees", { ...forestPlan, fineTuning: { layers: 1 } }, "fineTuning: an isolation_forest has no layers"],
])("fine-tuning of %s is refused, and the fault names its place", (_, plan, fault) => {
  expect(verdict(plan)).toContain(fault);
});

const forest = (change: object = {}) => ({ kind: "isolation_forest", trees: 20, subsampleRows: 64, ...change });
const { training: growing } = forestPlan;

test.each<[string, object, string]>([
  ["no tree", { model: forest({ trees: 0 }) }, "model.trees: "],
  ["trees of 8 rows", { model: forest({ subsampleRows: 8 }) }, "model.subsampleRows: "],
  ["more trees than a message holds", { model: forest({ trees: 1000, subsampleRows: 4096 }) }, "parameters; at most"],
  [
    "fewer rows than a tree is grown from",
    { threshold: { ...forestPlan.threshold, rows: 63 } },
    "threshold.rows: an isolation_forest needs 64 or more, its subsampleRows, not 63",
  ],
  [
    "trees of the rows since the last training",
    { training: { ...growing, learnFrom: "new_rows" } },
    "training.learnFrom: an isolation_forest needs recent_rows, not new_rows",
  ],
  [
    "trees that are rounded",
    { training: { ...growing, codec: { kind: "int8" } } },
    "training.codec.kind: an isolation_forest needs float32, not int8",
  ],
  [
    "a score of the largest residuals",
    { score: { largest: 2 } },
    "model: an isolation_forest needs score.largest to be",
  ],
  ["a fixed threshold", { threshold: withFixed }, "threshold.rule.kind: fixed is a classifier's alone"],
])("a forest with %s is refused, and the fault names its place", (_, change, fault) => {
  expect(verdict(forestPlan)).toBe("accepted");
  expect(verdict({ ...forestPlan, ...change })).toContain(fault);
});

test.each<[string, object, string]>([
  ["weights of another layout", { weights: [{ name: "w", shape: [3800], offset: 0 }] }, "weights: is not the layout"],
  ["residuals of other features", { residualChannels: [0] }, "residualChannels: must be the features' channels"],
  ["layers to tune", { fineTuning: { layers: 1, passes: 1 } }, "fineTuning: an isolation_forest has no layers"],
])("a forest's manifest with %s is refused", (_, change, fault) => {
  const { manifest } = compilePlan(forestPlan);
  const faults = (given: object) => {
    const parsed = manifestSchema.safeParse(given);
    return parsed.success ? "accepted" : describeFaults(parsed.error);
  };
  expect(faults(manifest)).toBe("accepted");
  expect(faults({ ...manifest, ...change })).toContain(fault);
});

test.each<[string, object, string]>([
  ["a gap between tensors", { weights: [{ name: "w", shape: [2], offset: 1 }] }, "not contiguous"],
  ["a tensor name taken twice", { weights: [0, 1].map((offset) => ({ name: "w", shape: [1], offset })) }, "same name"],
  ["another feature count", { featureCount: 11 }, "featureCount: must be 12"],
  ["a residual of no channel", { residualChannels: [0, 3] }, "residualChannels: every index must be below 3"],
])("a manifest with %s is refused", (_, change, fault) => {
  const parsed = manifestSchema.safeParse({ ...compilePlan(testPlan).manifest, ...change });
  expect(parsed.success ? "accepted" : describeFaults(parsed.error)).toContain(fault);
});

test.each([1, 3, "2", null, undefined])("a manifest of version %s is refused for that alone", (formatVersion) => {
  const { features: _, ...rest } = compilePlan(testPlan).manifest;
  const parsed = manifestSchema.safeParse({ ...rest, front_end: {}, formatVersion });
  const fault = "formatVersion: must be 2: the plan is of another version of FLEAD";
  expect(parsed.success ? "accepted" : describeFaults(parsed.error)).toBe(fault);
});

test("the memory that one device may take bounds a manifest too", () => {
  const { manifest } = compilePlan({ ...testPlan, ...keepsRows(39_215) });
  expect(manifestSchema.safeParse(manifest).success).toBe(true);
  const parsed = manifestSchema.safeParse({ ...manifest, threshold: { ...manifest.threshold, rows: 39_216 } });
  expect(parsed.success ? "accepted" : describeFaults(parsed.error)).toContain(tooManyRowsFault);
});

const rules: fc.Arbitrary<ThresholdRule> = fc.oneof(
  fc.constant<ThresholdRule>({ kind: "quantile", quantile: 0.99 }),
  fc.constant<ThresholdRule>({ kind: "federated_conformal", quantile: 0.99 }),
  fc.constant<ThresholdRule>({ kind: "spot", level: 0.9, risk: 0.01, maxExcesses: 100 }),
  fc.integer({ min: 2, max: 300 }).map((least): ThresholdRule => ({ kind: "conformal", alpha: 1 / least })),
);

test("a fitted threshold is accepted just when a device that has all its rows gets one", () => {
  const { manifest } = compilePlan(testPlan);
  fc.assert(
    fc.property(
      rules,
      fc.integer({ min: 30, max: 320 }),
      fc.integer({ min: 1, max: 100 }),
      (rule, rows, trailingRows) => {
        const change = { threshold: { rule, rows }, score: { largest: null, trailingRows } };
        const device = new DeviceMonitor({ ...manifest, ...change });
        device.calibrate(Float32Array.from({ length: rows }, (_, at) => 1 + at));
        expect(verdict({ ...testPlan, ...change }) === "accepted").toBe(device.threshold !== null);
      },
    ),
    { numRuns: 500, seed: 1 },
  );
});
