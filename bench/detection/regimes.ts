// The ways to learn that are compared: who trains with whom is all that tells them apart.
import { detected, deviceAfterHead, evaluateBaselines, evaluateModel } from "../../coordinator/core/evaluate.ts";
import type { CombiningRule } from "../../learning/aggregation/rules.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type DetectedSeries, summariseDetection } from "../../learning/detection.ts";
import type { DeltaCodec, FineTuningSettings, PlanSettings } from "../../learning/plan.ts";
import { presets } from "../../learning/presets.ts";
import { decodeBundle, encodeBundle, type PlanBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { type FleetSettings, type TrainedFleet, trainFleet, tunedFor } from "./fleet.ts";
import type { BenchStream, Dataset } from "./streams.ts";
import type { Answer } from "./table.ts";

export interface Variant {
  /** The forests learn by the preset forest: pooled as a fleet does, own as every device by itself. */
  readonly regime:
    | "federated"
    | "fine-tuned"
    | "centralised"
    | "local"
    | "no network"
    | "seed design"
    | "pooled forest"
    | "own forest";
  readonly rule: CombiningRule;
  readonly codec: DeltaCodec;
  /** Share of the gateways that send ×5 sign-flipped deltas. */
  readonly liars: number;
}

export const DEFAULT_RULE: CombiningRule = { kind: "multi_krum", faultyShare: 0.2 };
export const FOREST_RULE: CombiningRule = { kind: "pool_trees" };
export const DEFAULT_CODEC: DeltaCodec = { kind: "int8" };

const FINE_TUNING: FineTuningSettings = { layers: 1, passes: 10 };

const SEED_Z = 2.5;

/** The design that FLEAD grew out of: a logistic model whose labels are its own z-scores, on the rows the others learn from. */
export const seedPlan = (channels: PlanSettings["channels"], headRows: number): PlanSettings => ({
  ...presets.labelled,
  channels,
  threshold: { ...presets.labelled.threshold, rows: headRows - presets.labelled.commissioningRows },
});

/** 1 where any channel is further than 2.5 deviations from its mean over the rows before: the z columns come last. */
const seedLabel = (channels: number) => (features: Float32Array) =>
  features.subarray(-channels).some((z) => Math.abs(z) > Math.asinh(SEED_Z)) ? 1 : 0;

/** "top_k_int8 .05" for a codec with a share. */
export const codecName = (codec: DeltaCodec) => ("share" in codec ? `${codec.kind} ${codec.share}` : codec.kind);

/** One seed of one variant: trained, then met by every stream of the data set, each group on its own and all that train pooled. */
export async function measure(plan: PlanSettings, data: Dataset, variant: Variant, rounds: number): Promise<Answer[]> {
  const codec = { ...plan, training: { ...plan.training, codec: variant.codec } };
  const settings = variant.regime === "fine-tuned" ? { ...codec, fineTuning: FINE_TUNING } : codec;
  const { bytes, planId } = encodeBundle(compilePlan(settings));
  const compiled = decodeBundle(bytes, planId);
  const bundle = variant.regime === "no network" ? withoutNetwork(compiled) : compiled;
  const model = await PlanModel.load(bundle);
  try {
    const learners = data.streams.filter(({ group }) => !data.onlyEvaluated.has(group));
    const liars = Math.round(variant.liars * learners.length);
    const isSeed = variant.regime === "seed design";
    const labels = isSeed ? { labelOf: seedLabel(plan.channels.length) } : {};
    const fleet: FleetSettings = { bundle, model, rule: variant.rule, rounds, liars, ...labels };
    const series = new Map<BenchStream, DetectedSeries>();
    const sends = ["federated", "fine-tuned", "pooled forest"].includes(variant.regime);
    let bytesPerUpdate: number | null = null;
    for (const { devices, meets } of partition(variant, learners, data.streams)) {
      const trained = await trainFleet(fleet, devices);
      bytesPerUpdate = sends ? trained.bytesPerUpdate : null;
      for (const [stream, answer] of await answersOf(fleet, trained, meets)) series.set(stream, answer);
    }
    const described = {
      regime: variant.liars > 0 ? `${variant.regime}, ${Math.round(100 * variant.liars)} % lie` : variant.regime,
      rule: sends ? variant.rule.kind : null,
      codec: sends ? codecName(variant.codec) : null,
      bytesPerUpdate,
    };
    return byGroup(data, series).map((group) => ({ ...described, ...group }));
  } finally {
    await model.release();
  }
}

/** Which gateways learn together, and which streams meet what they learned. */
function partition(
  { regime }: Variant,
  learners: readonly BenchStream[],
  all: readonly BenchStream[],
): { readonly devices: readonly (readonly BenchStream[])[]; readonly meets: readonly BenchStream[] }[] {
  if (regime === "centralised") return [{ devices: [learners], meets: all }];
  if (regime === "local" || regime === "own forest")
    return all.map((stream) => ({ devices: [[stream]], meets: [stream] }));
  return [{ devices: learners.map((stream) => [stream]), meets: all }];
}

/** The same features and thresholds, and a network that says nothing: residuals are the features' own squares. */
function withoutNetwork(bundle: PlanBundle): PlanBundle {
  const training = { ...bundle.manifest.training, learningRate: 0 };
  return {
    ...bundle,
    manifest: { ...bundle.manifest, training },
    initialWeights: new Float32Array(bundle.initialWeights.length),
  };
}

/** Each stream is met by the weights of a gateway of its own: the champion's, or what it makes of them. */
async function answersOf(
  { bundle, model }: FleetSettings,
  { version, weights, fleet }: TrainedFleet,
  streams: readonly BenchStream[],
): Promise<[BenchStream, DetectedSeries][]> {
  const { manifest } = bundle;
  const answers: [BenchStream, DetectedSeries][] = [];
  for (const stream of streams) {
    const own = await tunedFor({ model, bundle, version, weights }, [deviceAfterHead(manifest, stream, fleet)], 1);
    const evaluation = await evaluateModel(manifest, [stream], (x, rows) => model.score(own, x, rows), fleet);
    answers.push([stream, detected(stream, evaluation?.rows ?? [])]);
  }
  return answers;
}

/** Each group on its own, and all that train pooled. */
function byGroup(data: Dataset, series: ReadonlyMap<BenchStream, DetectedSeries>): Pick<Answer, "group" | "scores">[] {
  const groups = Map.groupBy(series.keys(), ({ group }) => group);
  const learned = [...groups.keys()].filter((group) => !data.onlyEvaluated.has(group));
  if (learned.length > 1)
    groups.set(
      "pooled",
      learned.flatMap((group) => groups.get(group) ?? []),
    );
  return Array.from(groups, ([group, streams]) => ({
    group,
    scores: summariseDetection(
      streams.flatMap((stream) => series.get(stream) ?? []),
      null,
    ),
  }));
}

/** What costs nothing, on the same rows. */
export function trivialAnswers(plan: PlanSettings, data: Dataset): Answer[] {
  const { manifest } = compilePlan(plan);
  const groups = Map.groupBy(data.streams, ({ group }) => group);
  return Array.from(groups).flatMap(([group, streams]) => {
    const baselines = evaluateBaselines(manifest, streams);
    if (baselines === null) return [];
    const plain = { rule: null, codec: null, group, bytesPerUpdate: null };
    return [
      { ...plain, regime: "always alarm", scores: baselines.alwaysAlarm },
      { ...plain, regime: "z-score", scores: baselines.zScore },
    ];
  });
}
