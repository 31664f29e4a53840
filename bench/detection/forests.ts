// Isolation forests on the same rows: each device's own, and one of trees that the gateways pool.
import { detected, deviceAfterHead, evaluateModel } from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { DetectedSeries } from "../../learning/detection.ts";
import { noFleet } from "../../learning/fleet.ts";
import { IsolationForest } from "../../learning/isolation-forest.ts";
import { poolTrees } from "../../learning/isolation-trees.ts";
import type { Manifest, PlanSettings } from "../../learning/plan.ts";
import { presets } from "../../learning/presets.ts";
import { byGroup } from "./regimes.ts";
import type { BenchStream, Dataset } from "./streams.ts";
import type { Answer } from "./table.ts";

const TREES = 100;
const SUBSAMPLE_ROWS = 256;
const COMMISSIONING_ROWS = 100;

/** A forest sees single rows, normalised; its threshold is the 0.99 quantile of the device's own scores. */
function rowPlan(channels: PlanSettings["channels"], headRows: number): PlanSettings {
  const { machines } = presets;
  return {
    ...machines,
    channels,
    commissioningRows: COMMISSIONING_ROWS,
    features: {
      version: 1,
      reference: { kind: "normaliser", rows: 2000 },
      season: null,
      squash: 1,
      columns: [{ kind: "window", rows: 1 }],
    },
    score: { largest: null, trailingRows: 1 },
    training: { ...machines.training, learnFrom: "new_rows" },
    threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: headRows - COMMISSIONING_ROWS },
    excursion: null,
  };
}

/** Both forests for one seed; a device that comes later uses the pool as it is. */
export async function measureForests(data: Dataset, headRows: number, seed: number): Promise<Answer[]> {
  const { manifest } = compilePlan(rowPlan(data.channels, headRows));
  const featuresOf = (stream: BenchStream) => deviceAfterHead(manifest, stream, noFleet).calibrationFeatures().x;
  const rows = new Map(data.streams.map((stream) => [stream, Float64Array.from(featuresOf(stream))]));
  const grown = new Map(
    Array.from(rows, ([stream, x], index) => {
      const settings = { trees: TREES, subsampleRows: SUBSAMPLE_ROWS, seed: 1000 * seed + index };
      return [stream, IsolationForest.train(x, data.channels.length, settings)];
    }),
  );
  const learners = [...grown].filter(([{ group }]) => !data.onlyEvaluated.has(group));
  const pool = poolTrees(
    learners.map(([, { trees }]) => trees),
    TREES,
  );
  const pooled = new Map(Array.from(rows, ([stream, x]) => [stream, IsolationForest.withTrees(pool, x)]));
  const kinds = { "own forest": grown, "pooled forest": pooled };
  const answers: Answer[] = [];
  for (const [regime, forests] of Object.entries(kinds)) {
    const series = new Map<BenchStream, DetectedSeries>();
    for (const [stream, forest] of forests) series.set(stream, await answersOf(manifest, stream, forest));
    for (const group of byGroup(data, series))
      answers.push({ regime, rule: null, codec: null, bytesPerUpdate: null, ...group });
  }
  return answers;
}

async function answersOf(manifest: Manifest, stream: BenchStream, forest: IsolationForest): Promise<DetectedSeries> {
  const score = async (x: Float32Array, rows: number) => ({
    scores: Float32Array.from(forest.scoreRows(Float64Array.from(x))),
    residuals: new Float32Array(rows * manifest.residualChannels.length),
  });
  const evaluation = await evaluateModel(manifest, [stream], score, noFleet);
  return detected(stream, evaluation?.rows ?? []);
}
