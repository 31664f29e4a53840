// A cohort's plan and federation settings, from the YAML file an operator writes.
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import type { CombiningRule } from "../../learning/aggregation/rules.ts";
import { cohortId } from "../../learning/ids.ts";
import { growsTrees } from "../../learning/models/signature.ts";
import type { CohortSettings } from "../../learning/plan.ts";
import { fromPreset, type PresetName, presets } from "../../learning/presets.ts";
import { describeFaults, namesAllowedKeys, planKeys, planSettingsSchema } from "../../proto/plan-schema.ts";

const belowHalf = z.number().min(0).lt(0.5);
const clip = z
  .union(
    [z.strictObject({ medianMultiple: z.number().positive() }), z.strictObject({ maxNorm: z.number().positive() })],
    { error: ({ input }) => `${JSON.stringify(input)} is neither { medianMultiple: … } nor { maxNorm: … }` },
  )
  .exactOptional();

const ruleSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fedavg"), clip }),
  z.strictObject({ kind: z.literal("median"), clip }),
  z.strictObject({ kind: z.literal("trimmed_mean"), share: belowHalf, clip }),
  z.strictObject({ kind: z.literal("krum"), faultyShare: belowHalf, clip }),
  z.strictObject({ kind: z.literal("multi_krum"), faultyShare: belowHalf, clip }),
  z.strictObject({ kind: z.literal("pool_trees") }),
]);

const DEFAULT_RULE: CombiningRule = { kind: "multi_krum", faultyShare: 0.2 };
const FOREST_RULE: CombiningRule = { kind: "pool_trees" };

const rate = z.number().positive().max(1000);
const decay = z.number().min(0).lt(1);

const optimiserSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("none") }),
  z.strictObject({ kind: z.literal("avgm"), momentum: decay, rate }),
  z.strictObject({
    kind: z.enum(["adam", "yogi"]),
    rate,
    beta1: decay,
    beta2: decay,
    tau: z.number().positive().max(1),
  }),
]);

const DAY_MS = 86_400_000;
const gateways = z.int().min(1).max(1000);

const anyRound = {
  deadlineMs: z.int().min(100).max(DAY_MS).default(60_000),
  minGateways: gateways.default(2),
  maxStaleness: z.int().min(0).max(1000).default(10),
};

const roundSchema = z
  .looseObject({ mode: z.enum(["buffered", "synchronous"]).default("buffered") })
  .pipe(
    z.discriminatedUnion("mode", [
      z.strictObject({ mode: z.literal("buffered"), updates: z.int().min(1).max(1000).default(20), ...anyRound }),
      z.strictObject({
        mode: z.literal("synchronous"),
        gateways,
        overSelection: z.number().min(0).max(4).default(0.3),
        ...anyRound,
      }),
    ]),
  )
  .refine((round) => round.mode === "buffered" || round.minGateways <= round.gateways, {
    path: ["minGateways"],
    message: "must be at most the gateways wanted",
  });

const DEFAULT_PRESET: PresetName = "machines";
const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]];

/** What the file leaves unsaid of a plan is its preset's. */
const planOf = z
  .strictObject({
    preset: z.enum(presetNames).default(DEFAULT_PRESET),
    ...Object.fromEntries(planKeys.map((key) => [key, z.unknown().exactOptional()])),
    training: z.record(z.string(), z.unknown()).optional(),
  })
  .transform(({ preset, ...given }): unknown => fromPreset(preset, given))
  .pipe(planSettingsSchema);

const fileSchema = z.strictObject({
  cohort: z.string().refine(isCohortId, "must be 1 to 64 letters, digits, '_', '.' or '-'"),
  plan: planOf,
  federation: z
    .strictObject({
      round: roundSchema.prefault({}),
      samples: z
        .strictObject({
          rowsPerSecond: z.number().positive().max(1_000_000).default(2_000),
          burstMs: z
            .int()
            .min(1_000)
            .max(31 * DAY_MS)
            .default(DAY_MS),
        })
        .prefault({}),
      rule: ruleSchema.optional(),
      optimiser: optimiserSchema.prefault({ kind: "none" }),
      gate: z.strictObject({ margin: z.number().min(0).max(1).default(0.05) }).prefault({}),
    })
    .prefault({}),
});

/** A forest's trees are pooled and nothing else is; what is left unsaid is the rule of the plan's model. */
export const cohortSchema = fileSchema
  .superRefine(({ plan, federation: { rule, optimiser } }, context) => {
    if (context.issues.length > 0) return;
    const fault = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: ["federation", path, "kind"], message });
    const { kind } = plan.model;
    if (growsTrees(plan)) {
      if (rule !== undefined && rule.kind !== "pool_trees")
        fault("rule", `an ${kind} needs pool_trees, not ${rule.kind}`);
      if (optimiser.kind !== "none")
        fault("optimiser", `an ${kind} needs none, not ${optimiser.kind}: pooled trees are no step`);
    } else if (rule?.kind === "pool_trees") {
      fault("rule", `pool_trees is an isolation_forest's; a ${kind} needs one of pulls, as multi_krum is`);
    }
  })
  .transform(({ plan, federation, ...file }): CohortSettings => {
    const rule = federation.rule ?? (growsTrees(plan) ? FOREST_RULE : DEFAULT_RULE);
    return { ...file, plan, federation: { ...federation, rule } };
  });

function isCohortId(text: string): boolean {
  try {
    return cohortId(text) === text;
  } catch {
    return false;
  }
}

/** Throws with the file, the key, and what is allowed there. */
export async function readCohortFile(file: string): Promise<CohortSettings> {
  const fail = (why: string, cause?: unknown) => new Error(`plan ${file}: ${why}`, { cause });
  const text = await readFile(file, "utf8").catch((cause: Error) => {
    throw fail(cause.message, cause);
  });
  let document: unknown;
  try {
    document = parse(text);
  } catch (cause) {
    throw fail((cause as Error).message, cause);
  }
  const parsed = cohortSchema.safeParse(document, { error: namesAllowedKeys });
  if (parsed.success) return parsed.data;
  throw fail(describeFaults(parsed.error, "the file"));
}
