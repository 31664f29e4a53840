// What a plan may say: for the YAML that a person writes and for the manifest that a gateway is sent.
import { z } from "zod";
import { CHANNEL_NAME_RULE, isChannelName, isLabel, isUnit, UNIT_RULE } from "../learning/channels.ts";
import { featureLayout } from "../learning/features.ts";
import { buildModel, ModelError } from "../learning/models/build-model.ts";
import type { Manifest, PlanSettings } from "../learning/plan.ts";
import { weightCount } from "../learning/plan.ts";
import { SPOT_MIN_SCORES } from "../learning/spot.ts";

const MAX_CHANNELS = 256;
const MAX_PARAMETERS = 1_000_000;

const TENSOR_NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;

const channel = z.strictObject({
  name: z
    .string()
    .refine(isChannelName, CHANNEL_NAME_RULE)
    .refine((name) => !isLabel(name), "is what a label is called, and a label must not reach training"),
  unit: z.string().refine(isUnit, UNIT_RULE),
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
  z.strictObject({ kind: z.literal("conformal"), alpha: part }),
  z
    .strictObject({ kind: z.literal("spot"), level: part, risk: part, maxExcesses: z.int().min(10).max(10_000) })
    .refine(({ level, risk }) => risk < 1 - level, "risk must be below 1 - level"),
]);

const settings = z.strictObject({
  channels: z
    .array(channel)
    .min(1)
    .max(MAX_CHANNELS)
    .refine((channels) => unique(channels.map(({ name }) => name)), "two channels have the same name"),
  commissioningRows: z.int().min(2).max(1_000_000),
  normaliserRows: z.int().min(2).max(10_000_000),
  features: z.strictObject({
    windowRows: z.int().min(1).max(1000),
    rollingRows: z.int().min(2).max(100_000),
    rolling: z.array(z.enum(["mean", "std", "z"])).refine(unique, "a statistic is named twice"),
  }),
  model: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("dense_autoencoder"), hidden }),
    z.strictObject({ kind: z.literal("dense_forecaster"), hidden }),
  ]),
  training: z.strictObject({
    learningRate: z.number().positive().max(10),
    batchRows: z.int().min(1).max(10_000),
    triggerRows: z.int().min(1).max(100_000),
    triggerMs: z.int().min(100).max(86_400_000),
    passes: z.int().min(1).max(1000),
    seed: z.int().min(0).max(0xffff_ffff),
    codec: codec.default({ kind: "float32" }),
  }),
  threshold: z.strictObject({
    rule: thresholdRule,
    rows: z.int().min(30).max(100_000),
  }),
});

export const planSettingsSchema: z.ZodType<PlanSettings> = settings.superRefine((plan, context) => {
  if (context.issues.length > 0) return; // a value out of bounds is not built from
  const { rule, rows } = plan.threshold;
  if (rule.kind === "conformal" && rule.alpha * (rows + 1) < 1) {
    const message = `an alpha of ${rule.alpha} needs at least ${Math.ceil(1 / rule.alpha)} rows to be told from none`;
    context.addIssue({ code: "custom", path: ["threshold", "rule"], message });
  }
  if (rule.kind === "spot" && rows < SPOT_MIN_SCORES) {
    context.addIssue({
      code: "custom",
      path: ["threshold", "rows"],
      message: `SPOT needs at least ${SPOT_MIN_SCORES} rows`,
    });
  }
  const fault = (message: string) => context.addIssue({ code: "custom", path: ["model"], message });
  try {
    const parameters = weightCount(buildModel(plan).weights);
    if (parameters > MAX_PARAMETERS) fault(`${parameters} parameters; at most ${MAX_PARAMETERS} are allowed`);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    fault(error.message);
  }
});

const weightTensor = z.strictObject({
  name: z.string().regex(TENSOR_NAME, "must be 1 to 64 letters, digits or _.-, beginning with a letter"),
  shape: z.array(z.int().min(1).max(MAX_PARAMETERS)).max(4),
  offset: z.int().min(0),
});

/** The layout is taken as it is said, not rebuilt: a gateway can run an architecture that its own code does not build. */
export const manifestSchema: z.ZodType<Manifest> = settings
  .extend({
    formatVersion: z.literal(1),
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
    const fault = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
    const { featureCount } = featureLayout(manifest);
    if (manifest.featureCount !== featureCount)
      fault("featureCount", `must be ${featureCount}, what the features make`);
    if (manifest.residualChannels.some((index) => index >= manifest.channels.length)) {
      fault("residualChannels", `every index must be below ${manifest.channels.length}, the number of channels`);
    }
  });

function unique(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}

function contiguous(weights: Manifest["weights"]): boolean {
  return weights.every(({ offset }, at) => offset === weightCount(weights.slice(0, at)));
}

/** What is wrong, in one line: each fault with its key. */
export function describeFaults(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join(".") || "the plan"}: ${message}`).join("; ");
}
