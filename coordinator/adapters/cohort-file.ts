// A cohort's plan and federation settings, from the YAML file an operator writes.
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import type { CombiningRule } from "../../learning/aggregation/rules.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import { growsTrees } from "../../learning/models/signature.ts";
import type { CohortSettings, FederationSettings, Manifest } from "../../learning/plan.ts";
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
/** Of a cohort. */
const MAX_LIVE_STREAMS = 16;
/** Rows wait in memory for so long. */
const MAX_OPEN_WINDOWS = 24;
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
      z.strictObject({
        mode: z.literal("buffered"),
        updates: z.int().min(1).max(1000).default(20),
        intervalMs: z.int().min(0).max(DAY_MS).default(10_000),
        ...anyRound,
      }),
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

const MAX_TOPIC_CHARACTERS = 256;
const topic = z
  .string()
  .min(1)
  .max(MAX_TOPIC_CHARACTERS)
  .refine((text) => !/[+#\p{C}]|^\$/u.test(text), "must be one topic, without +, # or control characters");

const liveSchema = z
  .strictObject({
    device: z.string().refine(isIdOf(deviceId), "must be 1 to 64 letters, digits, '_', '.' or '-'"),
    topic,
    labelTopic: topic.nullable().default(null),
    labelField: z.string().min(1).max(64).nullable().default(null),
    windowMs: z.int().min(1_000).max(DAY_MS).default(300_000),
    latenessMs: z.int().min(0).max(DAY_MS).default(600_000),
  })
  .refine(({ windowMs, latenessMs }) => latenessMs <= MAX_OPEN_WINDOWS * windowMs, {
    path: ["latenessMs"],
    message: `must be at most ${MAX_OPEN_WINDOWS} windows`,
  })
  .refine((stream) => stream.labelTopic !== stream.topic, {
    path: ["labelTopic"],
    message: "must be another topic than the rows'",
  });

const driftSchema = z.strictObject({
  drop: z.number().positive().max(1).default(0.1),
  windows: z.int().min(1).max(100).default(3),
  rows: z.int().min(50).max(100_000).default(2_000),
  action: z.enum(["event", "round", "rollback"]).default("event"),
});

const federationSchema = z.strictObject({
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
  live: z
    .array(liveSchema)
    .max(MAX_LIVE_STREAMS)
    .refine((streams) => new Set(streams.map(({ device }) => device)).size === streams.length, {
      message: "names a device twice",
    })
    .default([]),
  drift: driftSchema.prefault({}),
});

const fileSchema = z.strictObject({
  cohort: z.string().refine(isIdOf(cohortId), "must be 1 to 64 letters, digits, '_', '.' or '-'"),
  plan: planOf,
  federation: federationSchema.prefault({}),
});

type Federation = z.output<typeof federationSchema>;
type Model = Pick<Manifest, "model" | "channels">;

interface Misfit {
  readonly path: (string | number)[];
  readonly message: string;
}

const misfits = (plan: Model, federation: Federation): Misfit[] => [
  ...misfitsOfModel(plan, federation),
  ...misfitsOfLive(plan, federation),
];

/** No label is a feature. */
function misfitsOfLive({ channels }: Model, { live }: Federation): Misfit[] {
  return live.flatMap(({ labelField }, index) =>
    channels.some(({ name }) => name === labelField)
      ? [{ path: ["federation", "live", index, "labelField"], message: `${labelField} is a channel of the plan` }]
      : [],
  );
}

/** A forest's trees are pooled and nothing else is. */
function misfitsOfModel({ model }: Model, { rule, optimiser }: Federation): Misfit[] {
  const fault = (path: string, message: string) => ({ path: ["federation", path, "kind"], message });
  const { kind } = model;
  if (!growsTrees({ model })) {
    if (rule?.kind !== "pool_trees") return [];
    return [fault("rule", `pool_trees is an isolation_forest's; a ${kind} needs one of pulls, as multi_krum is`)];
  }
  const faults = [];
  if (rule !== undefined && rule.kind !== "pool_trees")
    faults.push(fault("rule", `an ${kind} needs pool_trees, not ${rule.kind}`));
  if (optimiser.kind !== "none")
    faults.push(fault("optimiser", `an ${kind} needs none, not ${optimiser.kind}: pooled trees are no step`));
  return faults;
}

/** What is left unsaid is the rule of the plan's model. */
const withRule = ({ model }: Model, { rule, ...federation }: Federation): FederationSettings => ({
  ...federation,
  rule: rule ?? (growsTrees({ model }) ? FOREST_RULE : DEFAULT_RULE),
});

export const cohortSchema = fileSchema
  .superRefine(({ plan, federation }, context) => {
    if (context.issues.length > 0) return;
    for (const fault of misfits(plan, federation)) context.addIssue({ code: "custom", ...fault });
  })
  .transform(
    ({ plan, federation, ...file }): CohortSettings => ({ ...file, plan, federation: withRule(plan, federation) }),
  );

/** Hoisted: the schemas above are made of it. */
function isIdOf(check: (text: string) => string): (text: string) => boolean {
  return (text) => {
    try {
      return check(text) === text;
    } catch {
      return false;
    }
  };
}

/** Throws with the file, the key, and what is allowed there. */
export async function readCohortFile(file: string): Promise<CohortSettings> {
  try {
    return parseCohortFile(await readFile(file, "utf8"));
  } catch (cause) {
    throw new Error(`plan ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** Throws with the key and what is allowed there. */
export function parseCohortFile(text: string): CohortSettings {
  const parsed = cohortSchema.safeParse(parse(text), { error: namesAllowedKeys });
  if (parsed.success) return parsed.data;
  throw new Error(describeFaults(parsed.error, "the file"));
}

/** Federation settings as a plan file says them, for a plan of this model. Throws with the key and what is allowed there. */
export function parseFederation(plan: Model, given: unknown): FederationSettings {
  const parsed = federationSchema.safeParse(given, { error: namesAllowedKeys });
  if (!parsed.success) throw new Error(describeFaults(parsed.error, "the federation settings"));
  const [fault] = misfits(plan, parsed.data);
  if (fault !== undefined) throw new Error(`${fault.path.join(".")}: ${fault.message}`);
  return withRule(plan, parsed.data);
}
