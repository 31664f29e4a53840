import { expect, test } from "vitest";
import {
  evaluateBaselines,
  evaluateModel,
  type HeldOutStream,
  type ScoreRows,
  UNLABELLED,
} from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { DeviceMonitor, rowsToCalibrate } from "../../learning/monitor.ts";
import { seededRandom } from "../../learning/random.ts";
import { vusPr } from "../../learning/vus.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { initialOptimiserState, PlanModel, type TrainingPoint } from "../../runtime/plan-model.ts";
import { gatedFeatures } from "../support/front-end-plan.ts";
import { openEvaluator, plantStream } from "../support/held-out.ts";
import { pumpPlan } from "../support/plan-settings.ts";

const { planId, bytes } = encodeBundle(compilePlan(pumpPlan));
const plan = decodeBundle(bytes, planId);
const running = new AbortController().signal;
const streams = [0, 1, 2].map((pump) => plantStream(pump, 1200, rowsToCalibrate(plan.manifest) + 50));

/** Weights that have learned something of pumps, by the plan's own training graph on rows of other pumps. */
async function trainedWeights(): Promise<Float32Array> {
  const model = await PlanModel.load(plan);
  const base = plan.initialWeights;
  let point: TrainingPoint = { weights: base, state: initialOptimiserState(plan.manifest) };
  for (const pump of [10, 11, 12]) {
    const monitor = new DeviceMonitor(plan.manifest);
    const { rows, atMs } = plantStream(pump, 1100, Number.POSITIVE_INFINITY);
    const features = rows.flatMap((row, index) => [...(monitor.observe(row, Number(atMs[index]))?.features ?? [])]);
    const x = Float32Array.from(features);
    for (let pass = 0; pass < 20; pass++) {
      const batch = 50 * plan.manifest.featureCount;
      for (let from = 0; from + batch <= x.length; from += batch) {
        point = await model.train({ ...point, base }, { x: x.subarray(from, from + batch), y: null, rows: 50 }, 0.01);
      }
    }
  }
  await model.release();
  return point.weights;
}

function shuffled(stream: HeldOutStream, seed: number): HeldOutStream {
  const head = rowsToCalibrate(plan.manifest);
  const random = seededRandom(seed);
  const labels = stream.labels.slice();
  for (let i = labels.length - 1; i > head; i--) {
    const j = head + Math.floor(random.next() * (i - head + 1));
    [labels[i], labels[j]] = [labels[j] as number, labels[i] as number];
  }
  return { ...stream, labels };
}

test("with the labels of every held-out stream shuffled, row and event scores fall to chance: they are measured", async () => {
  const weights = await trainedWeights();
  const honest = await openEvaluator(plan, streams);
  const blind = await openEvaluator(
    plan,
    streams.map((stream, index) => shuffled(stream, index + 1)),
  );
  const real = (await honest.evaluate(weights, noFleet, running))?.scores;
  const chance = (await blind.evaluate(weights, noFleet, running))?.scores;
  await Promise.all([honest.close(), blind.close()]);
  if (!real || !chance) throw new Error("nothing was evaluated");

  // The same predictions: only what they are compared with has changed.
  expect(chance.tp + chance.fp).toBe(real.tp + real.fp);
  expect(chance.tp + chance.fn).toBe(real.tp + real.fn);
  // A detector that ignores its input has precision = prevalence; F1 follows from its rate of alarms.
  const prevalence = (real.tp + real.fn) / real.n;
  const alarms = (real.tp + real.fp) / real.n;
  const chanceF1 = (2 * prevalence * alarms) / (prevalence + alarms);
  expect(chance.f1).toBeGreaterThan(chanceF1 - 0.05);
  expect(chance.f1).toBeLessThan(chanceF1 + 0.05);
  expect(chance.prAuc).toBeLessThan(prevalence + 0.05);
  expect(real.f1).toBeGreaterThan(chanceF1 + 0.15);
  expect(real.prAuc).toBeGreaterThan(prevalence + 0.25);
  expect(real.vusPr).toBeGreaterThan((chance.vusPr as number) + 0.2);
  // The same alarms, but events are now scattered rows, which alarms meet only where they happen to begin.
  expect(chance.events?.episodes).toBe(real.events?.episodes);
  expect(chance.events?.recall).toBeLessThan(0.2);
  expect(real.events?.recall).toBeGreaterThan(0.5);
});

/** A stream whose rows behind the head, two seconds apart, score what they are told to against a threshold of 1. */
async function evaluatedAs(scores: Float32Array, labels: Uint8Array) {
  const head = rowsToCalibrate(plan.manifest);
  const stream = plantStream(0, head + scores.length, Number.POSITIVE_INFINITY);
  const allLabels = Uint8Array.from([...new Uint8Array(head), ...labels]);
  const calibration = new Float32Array(plan.manifest.threshold.rows).fill(1);
  let next = 0;
  const evaluation = await evaluateModel(
    plan.manifest,
    [{ ...stream, atMs: stream.rows.map((_, index) => 2000 * index), labels: allLabels }],
    async (_, rows) => ({
      scores: rows === 1 ? scores.slice(next, ++next) : calibration,
      residuals: new Float32Array(rows),
    }),
    noFleet,
  );
  if (evaluation === null) throw new Error("nothing was evaluated");
  return evaluation.scores;
}

test("events are counted by alarms: one fault found late, one missed, one false alarm, and one row that raised none", async () => {
  const labels = new Uint8Array(600).fill(1, 100, 140).fill(1, 400, 420);
  const scores = new Float32Array(600).fill(0.1).fill(5, 110, 140).fill(5, 250, 260).fill(5, 500, 501);
  const evaluated = await evaluatedAs(scores, labels);
  // Raised by the third row over the threshold: 112, 12 rows of two seconds after the fault began.
  expect(evaluated.events).toEqual({
    events: 2,
    detectedEvents: 1,
    luckyEvents: 0,
    episodes: 2,
    trueEpisodes: 1,
    precision: 0.5,
    recall: 0.5,
    f1: 0.5,
    delayMedianRows: 12,
    delayMedianS: 24,
  });
  expect(evaluated).toMatchObject({ tp: 30, fp: 11, fn: 30 });
  expect(evaluated.vusPr).toBe(vusPr([{ scores, labels }], { maxBufferRows: 40 }));
});

test("without a labelled event VUS-PR and event recall are null, and every alarm is false", async () => {
  const evaluated = await evaluatedAs(new Float32Array(100).fill(0.1).fill(5, 40, 50), new Uint8Array(100));
  expect(evaluated.vusPr).toBeNull();
  expect(evaluated.events).toMatchObject({ events: 0, recall: null, episodes: 1, precision: 0, delayMedianS: null });
});

test("the same weights on the same streams give the same answer, row for row", async () => {
  const evaluator = await openEvaluator(plan, streams);
  const first = await evaluator.evaluate(plan.initialWeights, noFleet, running);
  const again = await evaluator.evaluate(plan.initialWeights.slice(), noFleet, running);
  await evaluator.close();
  expect(again).toEqual(first);
});

test("labels are only compared with, never looked at: predictions don't depend on them", async () => {
  const model = await PlanModel.load(plan);
  const score = (x: Float32Array, rows: number) => model.score(plan.initialWeights, x, rows);
  const inverted = streams.map((stream) => ({ ...stream, labels: stream.labels.map((label) => 1 - label) }));
  const one = await evaluateModel(plan.manifest, streams, score, noFleet);
  const other = await evaluateModel(plan.manifest, inverted, score, noFleet);
  await model.release();
  expect(other?.rows.map(({ prediction, score: s }) => [prediction, s])).toEqual(
    one?.rows.map(({ prediction, score: s }) => [prediction, s]),
  );
});

/** Each row's score is its own features' alone, whatever rows are beside it. */
const rowByRow: ScoreRows = async (x, rows) => {
  const columns = x.length / rows;
  const scores = Float32Array.from({ length: rows }, (_, row) => {
    const features = x.subarray(row * columns, (row + 1) * columns);
    return Math.sqrt(features.reduce((sum, feature) => sum + feature * feature, 0));
  });
  return { scores, residuals: x.map((feature) => feature * feature) };
};

const seasonalPlan = compilePlan({
  ...pumpPlan,
  features: {
    ...gatedFeatures({ rollBackRows: 4 }, { kind: "means", rows: [1, 8] }),
    season: { period: "day", bins: 24 },
  },
  score: { largest: null, trailingRows: 5 },
  excursion: { clearBelow: 0.8, belowPeak: 0.3, releaseRows: 20, releaseAfterMs: 100_000 },
}).manifest;

test.each([
  ["a normaliser", plan.manifest],
  ["a gated baseline and a season", seasonalPlan],
])("what a stream is told does not depend on the streams it is evaluated with: %s", async (_, manifest) => {
  const lengths = [900, 1200, 700];
  const uneven = [0, 1, 2].map((pump) => plantStream(pump, Number(lengths[pump]), rowsToCalibrate(manifest) + 50));
  const evaluated = async (group: readonly HeldOutStream[]) => {
    const evaluation = await evaluateModel(manifest, group, rowByRow, noFleet);
    if (evaluation === null) throw new Error("nothing was evaluated");
    return evaluation;
  };
  const together = await evaluated(uneven);
  const alone = await Promise.all(uneven.map((stream) => evaluated([stream])));
  expect(together.rows).toEqual(alone.flatMap(({ rows }) => rows));
  const backwards = await evaluated(uneven.toReversed());
  expect(backwards.rows).toEqual(alone.toReversed().flatMap(({ rows }) => rows));
  expect(together.scores.n).toBe(lengths.reduce((sum, rows) => sum + rows - rowsToCalibrate(manifest), 0));
  const normal = (rows: typeof together.rows) => rows.filter(({ actual }) => actual === 0).length;
  const losses = alone.map(({ scores, rows }) => Number(scores.loss) * normal(rows));
  expect(Number(together.scores.loss) * normal(together.rows)).toBeCloseTo(
    losses.reduce((a, b) => a + b),
    6,
  );
});

test("the model itself tells a stream the same in any company, but for float32 sums taken in another order", async () => {
  const model = await PlanModel.load(plan);
  const score: ScoreRows = (x, rows) => model.score(plan.initialWeights, x, rows);
  const together = await evaluateModel(plan.manifest, streams, score, noFleet);
  const alone = await Promise.all(streams.map((stream) => evaluateModel(plan.manifest, [stream], score, noFleet)));
  await model.release();
  const rows = alone.flatMap((evaluation) => evaluation?.rows ?? []);
  expect(together?.rows).toHaveLength(rows.length);
  for (const [index, row] of (together?.rows ?? []).entries()) {
    expect(Math.abs(row.score / Number(rows[index]?.score) - 1)).toBeLessThan(1e-5);
  }
});

test("what is judged is the mean of the last scores, where the plan says so", async () => {
  const scoresOver = async (trailingRows: number) => {
    const manifest = { ...plan.manifest, score: { largest: null, trailingRows } };
    return (
      (await evaluateModel(manifest, streams.slice(0, 1), rowByRow, noFleet))?.rows.map(({ score }) => score) ?? []
    );
  };
  const [own, trailing] = [await scoresOver(1), await scoresOver(4)];
  expect(trailing).toHaveLength(own.length);
  // From here on alarms, and with them what is learned, may differ.
  for (const [row, score] of trailing.slice(0, 20).entries()) {
    const last = own.slice(Math.max(0, row - 3), row + 1);
    expect(score).toBeCloseTo(last.reduce((sum, each) => sum + each, 0) / last.length, 6);
  }
});

test("a stream is judged under the scales that its fleet knows", async () => {
  const gated = compilePlan({
    ...pumpPlan,
    features: gatedFeatures({ fleetFloor: 1 }, { kind: "means", rows: [1, 8] }),
  }).manifest;
  const scoresUnder = async (scales: Float64Array | null) =>
    (await evaluateModel(gated, streams, rowByRow, { scales, thresholdFactor: null }))?.rows.map(({ score }) => score);
  const wide = new Float64Array(gated.channels.length).fill(1e9);
  const own = await scoresUnder(null);
  const wider = await scoresUnder(wide);
  expect(wider?.every((score, index) => score < Number(own?.[index]))).toBe(true);
});

test("streams that lack channels are evaluated where the plan allows it, the trivial answers included", async () => {
  const { manifest } = compilePlan({
    ...pumpPlan,
    features: { ...pumpPlan.features, columns: [...pumpPlan.features.columns, { kind: "missing" }] },
  });
  const gaps = streams.map((stream) => ({
    ...stream,
    rows: stream.rows.map((row, at) => row.map((value, c) => (c === 1 && at % 3 === 0 ? Number.NaN : value))),
  }));
  const evaluation = await evaluateModel(manifest, gaps, rowByRow, noFleet);
  expect(evaluation?.rows.every(({ score }) => Number.isFinite(score))).toBe(true);
  expect(evaluateBaselines(manifest, gaps)?.zScore.n).toBe(evaluation?.rows.length);
});

test("every row behind the head is evaluated, and none of the head", async () => {
  const evaluator = await openEvaluator(plan, streams);
  const evaluation = await evaluator.evaluate(plan.initialWeights, noFleet, running);
  await evaluator.close();
  const head = rowsToCalibrate(plan.manifest);
  expect(evaluation?.rows.filter(({ stream }) => stream === "pump-0").map(({ rowIndex }) => rowIndex)).toEqual(
    Array.from({ length: 1200 - head }, (_, i) => head + i),
  );
  expect(evaluator.baselines?.alwaysAlarm).toMatchObject({ n: evaluation?.scores.n, recall: 1 });
  expect(evaluator.baselines?.alwaysNormal).toMatchObject({ n: evaluation?.scores.n, recall: 0, precision: null });
});

test("the trivial answers are judged by the same events: no alarm finds none, an alarm that never ends only by luck", async () => {
  const evaluator = await openEvaluator(plan, streams);
  const evaluation = await evaluator.evaluate(plan.initialWeights, noFleet, running);
  await evaluator.close();
  const events = evaluation?.scores.events?.events;
  const { alwaysNormal, alwaysAlarm, zScore } = evaluator.baselines ?? {};
  expect(events).toBeGreaterThan(streams.length);
  expect(alwaysNormal?.events).toMatchObject({ events, episodes: 0, precision: null, recall: 0 });
  expect(alwaysAlarm?.events).toMatchObject({ events, episodes: 3, trueEpisodes: 0, luckyEvents: events, recall: 0 });
  expect(zScore?.events).toMatchObject({ events });
  expect(zScore?.events?.detectedEvents).toBeGreaterThan(0);
  expect(zScore?.vusPr).toBeGreaterThan(alwaysNormal?.vusPr as number);
});

test("an evaluation that is no longer wanted ends at once", async () => {
  const evaluator = await openEvaluator(plan, streams);
  await expect(evaluator.evaluate(plan.initialWeights, noFleet, AbortSignal.abort())).rejects.toThrow(/aborted/);
  await evaluator.close();
});

test("without a held-out stream there is no number", async () => {
  const evaluator = await openEvaluator(plan, []);
  expect(await evaluator.evaluate(plan.initialWeights, noFleet, running)).toBeNull();
  expect(evaluator.baselines).toBeNull();
  await evaluator.close();
});

test("of a live stream the rows that nobody labelled are met and not counted; frozen ones have a score of their own", async () => {
  const [first, second] = streams as [HeldOutStream, HeldOutStream];
  const isCounted = (index: number) => index % 3 > 0;
  const live: HeldOutStream = {
    ...second,
    stream: "live/ref",
    live: true,
    labels: second.labels.map((label, index) => (isCounted(index) ? label : UNLABELLED)),
  };
  const [both, frozen, whole] = await Promise.all(
    [[first, live], [first], [second]].map((of) => openEvaluator(plan, of)),
  );
  const measure = (of: typeof both) => of?.evaluate(plan.initialWeights, noFleet, running);
  const [mixed, alone, all] = await Promise.all([both, frozen, whole].map(measure));
  await Promise.all([both, frozen, whole].map((of) => of?.close()));

  // Rows that are scored together are rounded otherwise than alone.
  const { tp, fp, tn, fn } = alone?.scores ?? {};
  expect(mixed?.frozen).toMatchObject({ tp, fp, tn, fn, loss: expect.closeTo(alone?.scores.loss ?? 0, 5) });
  expect(mixed?.set).toBe(alone?.set);
  expect(mixed?.scores).not.toEqual(alone?.scores);
  const answers = (rows = mixed?.rows) =>
    rows?.map(({ rowIndex, prediction, score }) => [rowIndex, prediction, score.toFixed(4)]);
  const ofLive = answers(mixed?.rows.filter(({ stream }) => stream === "live/ref"));
  expect(ofLive).toEqual(answers(all?.rows.filter(({ rowIndex }) => isCounted(rowIndex))));
  const { n } = mixed?.streams.find(({ stream }) => stream === "live/ref")?.scores ?? { n: 0 };
  expect(n).toBe(ofLive?.length);
  for (const scores of Object.values(evaluateBaselines(plan.manifest, [live]) ?? {})) expect(scores.n).toBe(n);
});
