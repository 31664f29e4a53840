// What a plan may say: for the YAML that a person writes and for the manifest that a gateway is sent.
import { z } from "zod";
import { CHANNEL_NAME_RULE, isChannelName, isLabel, isUnit, UNIT_RULE } from "../learning/channels.ts";
import { featureLayout } from "../learning/features.ts";
import { layersOf } from "../learning/fine-tuning.ts";
import { forestLayout } from "../learning/forest-weights.ts";
import { historyValues } from "../learning/front-end.ts";
import { buildModel, ModelError } from "../learning/models/build-model.ts";
import { MANIFEST_VERSION, type Manifest, type PlanSettings, weightCount } from "../learning/plan.ts";
import { calibrationScores, leastScores } from "../learning/threshold-rules.ts";

const MAX_CHANNELS = 256;
const MAX_PARAMETERS = 1_000_000;
/** Of one device's calibration rows, 4 bytes each, and of the rows its features look at, 8 bytes each: 16 MB each. */
const MAX_CALIBRATION_VALUES = 4_000_000;
const MAX_HISTORY_VALUES = 2_000_000;

const MAX_TUNED_LAYERS = 16;
/** A gateway tunes beside its judging. */
const MAX_TUNING_PASSES = 100;

const TENSOR_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;

const channel = z.strictObject({
  name: z
    .string()
    .refine(isChannelName, CHANNEL_NAME_RULE)
    .refine((name) => !isLabel(name), "is what a label is called, and a label must not reach training"),
  unit: z.string().refine(isUnit, UNIT_RULE).default(""),
});

const hidden = z.array(z.int().min(1).max(4096)).max(8);

const share = z.number().gt(0).max(1);

const codec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.enum(["float32", "float16", "int8"]) }),
  z.strictObject({ kind: z.enum(["top_k", "top_k_int8"]), share }),
]);

const part = z.number().gt(0).lt(1);

const thresholdRule = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("quantile"), quantile: part }),
  z.strictObject({ kind: z.literal("fixed"), threshold: z.number().positive() }),
  z.strictObject({ kind: z.literal("federated_conformal"), quantile: part }),
  z.strictObject({ kind: z.literal("conformal"), alpha: part }),
  z
    .strictObject({ kind: z.literal("spot"), level: part, risk: part, maxExcesses: z.int().min(10).max(10_000) })
    .refine(({ level, risk }) => risk < 1 - level, "risk must be below 1 - level"),
]);

const MAX_WINDOW_ROWS = 1000;
const MAX_STATISTICS_ROWS = 100_000;

const rowCounts = z
  .array(z.int().min(1).max(MAX_WINDOW_ROWS))
  .min(1)
  .max(16)
  .refine((rows) => new Set(rows).size === rows.length, "a number of rows is named twice");

const adaptation = z.strictObject({
  upRows: z.int().min(1).max(10_000_000),
  downRows: z.int().min(1).max(10_000_000),
  atMost: z.number().min(1).max(1000),
});

const excursion = z.strictObject({
  clearBelow: z.number().gt(0).max(1),
  belowPeak: z.number().min(0).lt(1),
  releaseRows: z.int().min(1).max(MAX_STATISTICS_ROWS),
  releaseAfterMs: z.int().min(1000).nullable().default(null),
});

const reference = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("normaliser"), rows: z.int().min(2).max(10_000_000) }),
  z.strictObject({
    kind: z.literal("gated_baseline"),
    memoryRows: z.int().min(1).max(10_000_000).default(200),
    meanRows: z.int().min(1).max(MAX_WINDOW_ROWS).default(32),
    gate: z.number().positive().max(1000).default(5),
    scaleFromRow: z.int().min(1).max(MAX_STATISTICS_ROWS).default(65),
    fleetFloor: z.number().min(0).max(1).default(0),
    rollBackRows: z.int().min(0).max(MAX_WINDOW_ROWS).default(0),
    adaptation: adaptation.nullable().default(null),
  }),
]);

const column = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("window"), rows: z.int().min(1).max(MAX_WINDOW_ROWS) }),
  z.strictObject({ kind: z.literal("means"), rows: rowCounts }),
  z.strictObject({
    kind: z.literal("rolling"),
    rows: z.int().min(2).max(MAX_STATISTICS_ROWS),
    statistics: z
      .array(z.enum(["mean", "std", "z"]))
      .min(1)
      .refine(unique, "a statistic is named twice"),
  }),
  z.strictObject({ kind: z.literal("lags"), rows: rowCounts }),
  z.strictObject({ kind: z.literal("differences"), rows: rowCounts }),
  z.strictObject({ kind: z.literal("missing") }),
]);

const features = z.strictObject({
  version: z.literal(1).default(1),
  reference,
  season: z
    .strictObject({ period: z.enum(["day", "week"]), bins: z.int().min(2).max(168) })
    .nullable()
    .default(null),
  squash: z.number().positive().max(1000).default(1),
  columns: z
    .array(column)
    .min(1)
    .max(8)
    .refine((columns) => unique(columns.map(({ kind }) => kind)), "a kind of column is named twice"),
});

const loss = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("squared") }),
  z.strictObject({ kind: z.literal("huber"), delta: z.number().positive() }),
  z.strictObject({ kind: z.literal("cross_entropy") }),
]);

const decay = z.number().min(0).lt(1);

const optimiser = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("sgd") }),
  z.strictObject({ kind: z.literal("momentum"), momentum: decay }),
  z.strictObject({ kind: z.literal("adam"), beta1: decay.default(0.9), beta2: decay.default(0.999) }),
]);

const settings = z.strictObject({
  channels: z
    .array(channel)
    .min(1)
    .max(MAX_CHANNELS)
    .refine((channels) => unique(channels.map(({ name }) => name)), "two channels have the same name"),
  commissioningRows: z.int().min(2).max(1_000_000),
  features,
  model: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("dense_autoencoder"), hidden }),
    z.strictObject({
      kind: z.literal("conv_autoencoder"),
      filters: z.array(z.int().min(1).max(256)).min(1).max(4),
      kernel: z.int().min(2).max(64),
    }),
    z.strictObject({ kind: z.literal("dense_forecaster"), hidden }),
    z.strictObject({ kind: z.literal("classifier"), hidden }),
    z.strictObject({
      kind: z.literal("isolation_forest"),
      trees: z.int().min(1).max(1000),
      subsampleRows: z.int().min(16).max(4096),
    }),
  ]),
  score: z
    .strictObject({
      largest: z.int().min(1).max(10_000).nullable().default(null),
      trailingRows: z.int().min(1).max(1000).default(1),
    })
    .prefault({}),
  training: z.strictObject({
    learningRate: z.number().positive().max(10),
    batchRows: z.int().min(1).max(10_000),
    triggerRows: z.int().min(1).max(100_000),
    triggerMs: z.int().min(100).max(86_400_000),
    passes: z.int().min(1).max(1000),
    learnFrom: z.enum(["new_rows", "recent_rows"]).default("new_rows"),
    loss: loss.default({ kind: "squared" }),
    optimiser: optimiser.default({ kind: "sgd" }),
    clip: z.number().positive().nullable().default(null),
    l2: z.number().min(0).max(1).default(0),
    proximal: z.number().min(0).max(1000).default(0),
    seed: z.int().min(0).max(0xffff_ffff),
    codec: codec.default({ kind: "float32" }),
  }),
  fineTuning: z
    .strictObject({
      layers: z.int().min(1).max(MAX_TUNED_LAYERS),
      passes: z.int().min(1).max(MAX_TUNING_PASSES).default(10),
    })
    .exactOptional(),
  threshold: z.strictObject({
    rule: thresholdRule,
    rows: z.int().min(30).max(100_000),
  }),
  excursion: excursion.nullable().default(null),
  alarm: z
    .discriminatedUnion("kind", [
      z.strictObject({ kind: z.literal("lasting") }),
      z.strictObject({ kind: z.literal("onset"), refractoryMs: z.int().min(0).max(604_800_000) }),
    ])
    .default({ kind: "lasting" }),
});

export const planSettingsSchema: z.ZodType<PlanSettings> = settings.superRefine((plan, context) => {
  if (context.issues.length > 0) return; // a value out of bounds is not built from
  const faults = [
    ...thresholdFaults(plan),
    ...memoryFaults(plan),
    ...classifierFaults(plan),
    ...forestFaults(plan),
    ...tunedForestFaults(plan),
    ...baselineFaults(plan),
    ...modelFaults(plan),
  ];
  for (const { key, message } of faults) context.addIssue({ code: "custom", path: key.split("."), message });
});

/** Of a plan. */
export const planKeys = settings.keyof().options;

interface Fault {
  /** Dots between its parts. */
  readonly key: string;
  readonly message: string;
}

/** A rule that needs more scores than a device keeps would never give a threshold. */
function* thresholdFaults({ threshold: { rule, rows }, score }: PlanSettings): Generator<Fault> {
  const scores = calibrationScores(rows, score.trailingRows);
  const least = leastScores(rule);
  if (scores < least) {
    const given = `${rows} rows and score.trailingRows of ${score.trailingRows} give ${scores}`;
    yield { key: "threshold.rows", message: `${rule.kind} needs ${least} scores; ${given}` };
  }
}

/** What every device of a gateway keeps for itself. */
function* memoryFaults(plan: Pick<Manifest, "channels" | "features" | "threshold">): Generator<Fault> {
  const { featureCount } = featureLayout(plan);
  const { rows } = plan.threshold;
  if (featureCount * rows > MAX_CALIBRATION_VALUES) {
    const values = `${rows} rows of ${featureCount} features, by features.columns, are ${featureCount * rows} values`;
    yield { key: "threshold.rows", message: `${values} a device; at most ${MAX_CALIBRATION_VALUES} are allowed` };
  }
  const history = historyValues(plan);
  if (history > MAX_HISTORY_VALUES) {
    const message = `the rows they look at are ${history} values a device; at most ${MAX_HISTORY_VALUES} are allowed`;
    yield { key: "features", message };
  }
}

/** A probability means the same everywhere and is learned from the rows that labels came for; an error does neither. */
function* classifierFaults({ model, threshold, training }: PlanSettings): Generator<Fault> {
  if (model.kind !== "classifier") {
    const message = `fixed is a classifier's alone; a ${model.kind} needs one that is fitted, as quantile is`;
    if (threshold.rule.kind === "fixed") yield { key: "threshold.rule.kind", message };
    return;
  }
  if (threshold.rule.kind !== "fixed")
    yield { key: "threshold.rule.kind", message: `a classifier needs fixed, not ${threshold.rule.kind}` };
  if (training.learnFrom !== "new_rows")
    yield { key: "training.learnFrom", message: `a classifier needs new_rows, not ${training.learnFrom}` };
}

/** Trees are grown from good rows without labels, as many as a tree is grown from, and travel as they are. */
function* forestFaults({ model, threshold, training }: PlanSettings): Generator<Fault> {
  if (model.kind !== "isolation_forest") return;
  const needs = (wanted: string, given: string) => `an isolation_forest needs ${wanted}, not ${given}`;
  if (training.learnFrom !== "recent_rows")
    yield { key: "training.learnFrom", message: needs("recent_rows", training.learnFrom) };
  if (training.codec.kind !== "float32")
    yield { key: "training.codec.kind", message: needs("float32", training.codec.kind) };
  if (threshold.rows < model.subsampleRows) {
    const rows = `${model.subsampleRows} or more, its subsampleRows`;
    yield { key: "threshold.rows", message: needs(rows, String(threshold.rows)) };
  }
}

function* tunedForestFaults({ model, fineTuning }: Pick<PlanSettings, "model" | "fineTuning">): Generator<Fault> {
  if (fineTuning !== undefined && model.kind === "isolation_forest")
    yield { key: "fineTuning", message: "an isolation_forest has no layers: leave it out" };
}

/** A gated baseline has its scale from commissioning rows. */
function* baselineFaults({ features: { reference }, commissioningRows }: PlanSettings): Generator<Fault> {
  if (reference.kind === "gated_baseline" && reference.scaleFromRow >= commissioningRows) {
    const message = `${reference.scaleFromRow} must be below commissioningRows, ${commissioningRows}`;
    yield { key: "features.reference.scaleFromRow", message };
  }
}

function* modelFaults(plan: PlanSettings): Generator<Fault> {
  try {
    const { weights } = buildModel(plan);
    const parameters = weightCount(weights);
    const layers = layersOf(weights).length;
    if (plan.fineTuning !== undefined && plan.fineTuning.layers > layers)
      yield { key: "fineTuning.layers", message: `${plan.fineTuning.layers}; the model has ${layers}` };
    if (parameters > MAX_PARAMETERS)
      yield { key: "model", message: `${parameters} parameters; at most ${MAX_PARAMETERS} are allowed` };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    yield { key: "model", message: error.message };
  }
}

const weightTensor = z.strictObject({
  name: z.string().regex(TENSOR_NAME, "must be 1 to 64 letters, digits or _.-, beginning with a letter"),
  shape: z.array(z.int().min(1).max(MAX_PARAMETERS)).max(4),
  offset: z.int().min(0),
});

/** A forest has no graph that could say what its weights and residuals are. */
function* forestLayoutFaults({ model, weights, residualChannels, ...plan }: Manifest): Generator<Fault> {
  if (model.kind !== "isolation_forest") return;
  if (JSON.stringify(weights) !== JSON.stringify(forestLayout(model)))
    yield { key: "weights", message: "is not the layout of an isolation_forest of these settings" };
  if (residualChannels.join() !== featureLayout(plan).channelOf.join())
    yield { key: "residualChannels", message: "must be the features' channels" };
}

/** The layout is taken as it is said, not rebuilt: a gateway can run an architecture that its own code does not build. */
const ourManifest: z.ZodType<Manifest> = settings
  .extend({
    formatVersion: z.literal(MANIFEST_VERSION),
    featureCount: z.int().min(1),
    weights: z
      .array(weightTensor)
      .min(1)
      .max(100)
      .refine((weights) => unique(weights.map(({ name }) => name)), "two tensors have the same name")
      .refine(contiguous, "the offsets are not contiguous from 0")
      .refine((weights) => weightCount(weights) <= MAX_PARAMETERS, `more than ${MAX_PARAMETERS} parameters`),
    residualChannels: z.array(z.int().min(0)).min(1),
  })
  .superRefine((manifest, context) => {
    if (context.issues.length > 0) return;
    const fault = ({ key, message }: Fault) => context.addIssue({ code: "custom", path: key.split("."), message });
    const { featureCount } = featureLayout(manifest);
    if (manifest.featureCount !== featureCount)
      fault({ key: "featureCount", message: `must be ${featureCount}, what the features make` });
    if (manifest.residualChannels.some((index) => index >= manifest.channels.length)) {
      const message = `every index must be below ${manifest.channels.length}, the number of channels`;
      fault({ key: "residualChannels", message });
    }
    const faults = [...memoryFaults(manifest), ...forestLayoutFaults(manifest), ...tunedForestFaults(manifest)];
    for (const each of faults) fault(each);
  });

/** The version comes before the rest: of a manifest of another one the rest would only be unknown and missing keys. */
export const manifestSchema: z.ZodType<Manifest> = z
  .unknown()
  .refine((given) => z.looseObject({ formatVersion: z.literal(MANIFEST_VERSION) }).safeParse(given).success, {
    path: ["formatVersion"],
    message: `must be ${MANIFEST_VERSION}: the plan is of another version of FLEAD`,
    abort: true,
  })
  .pipe(ourManifest);

function unique(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}

function contiguous(weights: Manifest["weights"]): boolean {
  return weights.every(({ offset }, at) => offset === weightCount(weights.slice(0, at)));
}

/** To parse with what a person wrote: an unknown key is answered with the keys that are allowed where it stands. */
export const namesAllowedKeys: z.core.$ZodErrorMap = (issue) => {
  if (issue.code !== "unrecognized_keys" || !(issue.inst instanceof z.ZodObject)) return undefined;
  const unknown = issue.keys.map((key) => JSON.stringify(key)).join(", ");
  return `unknown key ${unknown}; allowed are ${Object.keys(issue.inst.shape).join(", ")}`;
};

/** What is wrong, in one line: each fault with its key. */
export function describeFaults(error: z.ZodError, whole = "the plan"): string {
  return error.issues.map(({ path, message }) => `${path.join(".") || whole}: ${message}`).join("; ");
}
