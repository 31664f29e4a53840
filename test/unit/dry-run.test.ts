import { expect, test } from "vitest";
import { type Champion, type DryRunSubject, dryRun, type RunningPlan } from "../../coordinator/core/dry-run.ts";
import type { HeldOutStream } from "../../coordinator/core/evaluate.ts";
import { rowsOfChance } from "../../learning/check-plan.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { type PlanId, planId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { smallSettings } from "../support/small-plan.ts";

const settings = smallSettings();
const [NEW, OLD] = [planId("1".repeat(64)), planId("2".repeat(64))];

/** Graphs that score a row by its first feature, and learn nothing. */
function graphs(change: Partial<RunningPlan> = {}, of: PlanSettings = settings): RunningPlan {
  const { manifest } = compilePlan(of);
  return {
    manifest,
    score: async (_weights, x, rows) => ({
      scores: Float32Array.from({ length: rows }, (_, row) => Math.abs(Number(x[row * manifest.featureCount]))),
      residuals: new Float32Array(rows * manifest.residualChannels.length),
    }),
    train: async (weights) => ({ loss: 1, weights }),
    ...change,
  };
}

/** Quiet but for its last rows, which are far away and labelled so. */
function stream(rows = 300): HeldOutStream {
  const random = seededRandom(1);
  const faulty = (row: number) => row >= rows - 20;
  return {
    stream: "pump-1",
    sha256: "a".repeat(64),
    rows: Array.from({ length: rows }, (_, row) =>
      Float64Array.of((faulty(row) ? 50 : 0) + random.normal(), random.normal()),
    ),
    atMs: Array.from({ length: rows }, (_, row) => row * 1000),
    labels: Uint8Array.from({ length: rows }, (_, row) => (faulty(row) ? 1 : 0)),
  };
}

function subject(plan: RunningPlan, change: Partial<DryRunSubject> = {}): DryRunSubject {
  const { initialWeights } = compilePlan(settings);
  return {
    planId: NEW,
    plan,
    begin: { version: null, trained: false, weights: initialWeights, fleet: noFleet },
    streams: [stream()],
    example: { x: rowsOfChance(plan.manifest, 40, 1), rows: 40 },
    ...change,
  };
}

function champion(plan: RunningPlan, change: { trained?: boolean; planId?: PlanId } = {}): Champion {
  const { trained = true, planId = OLD } = change;
  const weights = new Float32Array(compilePlan(settings).initialWeights.length);
  return { planId, plan, model: { version: 4, trained, weights, fleet: noFleet }, streams: [stream()] };
}

test("a plan that works has passed, and its scores are those of what it begins with, champion and baselines beside them", async () => {
  const report = await dryRun(subject(graphs()), champion(graphs()), []);
  expect(report).toMatchObject({
    passed: true,
    failures: [],
    begin: { version: null, trained: false, scores: { n: 90, tp: 20 } },
    carried: { version: 4, trained: true, scores: { n: 90, tp: 20 } },
    champion: { planId: OLD, version: 4, scores: { n: 90 } },
    baselines: { alwaysNormal: { n: 90, tp: 0, fn: 20 } },
  });
  expect(report.streams).toMatchObject([
    { stream: "pump-1", begin: { n: 90 }, carried: { n: 90 }, champion: { n: 90 }, baselines: {} },
  ]);
});

test("a model that finds nothing is shown, and no failure", async () => {
  const blind = graphs({
    score: async (_weights, _x, rows) => ({ scores: new Float32Array(rows), residuals: new Float32Array(2 * rows) }),
  });
  expect(await dryRun(subject(blind), null, [])).toMatchObject({ passed: true, begin: { scores: { tp: 0, fn: 20 } } });
});

test("without streams the graphs are run all the same, and nothing is evaluated", async () => {
  const ran: string[] = [];
  const watched = graphs();
  const plan = graphs({
    score: (...given) => {
      ran.push("score");
      return watched.score(...given);
    },
    train: (...given) => {
      ran.push("train");
      return watched.train(...given);
    },
  });
  expect(await dryRun(subject(plan, { streams: [] }), champion(graphs()), [])).toMatchObject({
    passed: true,
    begin: { scores: null },
    champion: { scores: null },
    baselines: null,
    streams: [],
  });
  expect(ran).toEqual(["score", "train"]);
  const broken = graphs({ train: () => Promise.reject(new Error("no such node")) });
  expect(await dryRun(subject(broken, { streams: [] }), null, [])).toMatchObject({
    passed: false,
    failures: [{ fault: "graph", stream: null, detail: "training failed: no such node" }],
  });
});

const scoresOf =
  (value: number): RunningPlan["score"] =>
  async (_weights, _x, rows) => ({
    scores: new Float32Array(rows).fill(value),
    residuals: new Float32Array(2 * rows),
  });

test.each<[string, Partial<RunningPlan>, object]>([
  ["scoring fails", { score: () => Promise.reject(new Error("boom")) }, { fault: "graph", stream: "pump-1" }],
  ["training fails", { train: () => Promise.reject(new Error("boom")) }, { fault: "graph", stream: "pump-1" }],
  ["a score is not finite", { score: scoresOf(Number.NaN) }, { fault: "not_finite", detail: "a row's score is NaN" }],
  [
    "the loss is not finite",
    { train: async (weights) => ({ loss: Number.POSITIVE_INFINITY, weights }) },
    { fault: "not_finite", detail: "the loss of a training is Infinity" },
  ],
  [
    "a weight is not finite",
    { train: async (weights) => ({ loss: 1, weights: weights.with(0, Number.NaN) }) },
    { fault: "not_finite", detail: "a training leaves no finite weights" },
  ],
])("it fails when %s, and then nothing is told as measured", async (_what, change, failure) => {
  const report = await dryRun(subject(graphs(change)), champion(graphs()), []);
  expect(report).toMatchObject({ passed: false, failures: [failure], begin: { scores: null }, streams: [] });
});

test("a score that is not finite behind the head of a stream is found, too", async () => {
  const quiet = graphs();
  const plan = graphs({
    score: (weights, x, rows) => (rows === 1 ? scoresOf(Number.NaN)(weights, x, rows) : quiet.score(weights, x, rows)),
  });
  const report = await dryRun(subject(plan), null, []);
  expect(report).toMatchObject({ passed: false, failures: [{ fault: "not_finite", stream: null }], streams: [] });
});

test("it fails when the rule fits no threshold to so few scores", async () => {
  const few = graphs({}, { ...settings, threshold: { ...settings.threshold, rows: 20 } });
  expect(await dryRun(subject(few), null, [])).toMatchObject({
    passed: false,
    failures: [{ fault: "no_threshold", stream: "pump-1", detail: expect.stringContaining("quantile") }],
  });
});

test("what could not be read of the streams is a failure of the plan", async () => {
  const unread = { fault: "missing_channel", stream: "fan-1", detail: "it has no column" } as const;
  const report = await dryRun(subject(graphs()), null, [unread]);
  expect(report).toMatchObject({ passed: false, failures: [unread], begin: { scores: null }, champion: null });
});

test.each<[string, Champion]>([
  ["untrained", champion(graphs(), { trained: false })],
  ["the plan's own", champion(graphs(), { planId: NEW })],
  ["of another layout", champion(graphs({}, { ...settings, model: { kind: "dense_autoencoder", hidden: [4] } }))],
])("a champion that is %s is not carried over", async (_what, is) => {
  expect((await dryRun(subject(graphs()), is, [])).carried).toBeNull();
});
