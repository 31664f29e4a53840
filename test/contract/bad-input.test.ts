import { expect, onTestFinished, test } from "vitest";
import { isUsable, trainLocally } from "../../agent/train-locally.ts";
import { trainFleet } from "../../bench/detection/fleet.ts";
import type { BenchStream } from "../../bench/detection/streams.ts";
import { parseHeldOutCsv } from "../../coordinator/adapters/held-out-csv.ts";
import { type Evaluation, evaluateModel } from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { DeviceMonitor, type Judgement } from "../../learning/monitor.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { presets } from "../../learning/presets.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";

const HEAD_ROWS = 300;
const ROWS = 600;
const FAULT_ROW = 450;

/** Machines' plan with a short commissioning; with a mask, rows may lack channels. */
function plan({ mask = false, releaseAfterMs = null as number | null } = {}): PlanSettings {
  const { machines } = presets;
  const columns = mask ? [...machines.features.columns, { kind: "missing" } as const] : machines.features.columns;
  return {
    ...machines,
    channels: ["load", "constant", "lost"].map((name) => ({ name, unit: "" })),
    commissioningRows: HEAD_ROWS,
    features: { ...machines.features, columns },
    threshold: { ...machines.threshold, rows: 220 },
    excursion: machines.excursion && { ...machines.excursion, releaseAfterMs },
  };
}

/** `usual` of a channel comes and goes every 50 rows, so that the head has seen all there is. */
type Row = (row: number, usual: (channel: number) => number) => readonly number[];

function stream(index: number, values: Row, rows = ROWS): BenchStream {
  const random = seededRandom(40 + index);
  return {
    group: "g",
    stream: `g/${index}`,
    sha256: "",
    rows: Array.from({ length: rows }, (_, row) =>
      Float64Array.from(
        values(row, (channel) => Math.sin((row / 50 + channel / 3) * 2 * Math.PI) + 0.05 * random.normal()),
      ),
    ),
    atMs: Array.from({ length: rows }, (_, row) => 1000 * row),
    labels: Uint8Array.from({ length: rows }, (_, row) => (row >= FAULT_ROW ? 1 : 0)),
  };
}

async function open(settings: PlanSettings) {
  const { bytes, planId } = encodeBundle(compilePlan(settings));
  const bundle = decodeBundle(bytes, planId);
  const model = await PlanModel.load(bundle);
  onTestFinished(() => model.release());
  return { bundle, model };
}

/** Three devices of this kind learn together; each is then met by what they learned. */
async function met(settings: PlanSettings, values: Row): Promise<Evaluation & { readonly weights: Float32Array }> {
  const { bundle, model } = await open(settings);
  const devices = [0, 1, 2].map((index) => stream(index, values));
  const fleet = { headRows: HEAD_ROWS, bundle, model, rule: { kind: "median" } as const, rounds: 4, liars: 0 };
  const trained = await trainFleet(
    fleet,
    devices.map((device) => [device]),
  );
  expect(trained.weights.every(Number.isFinite)).toBe(true);
  const score = (x: Float32Array, rows: number) => model.score(trained.weights, x, rows);
  const evaluation = await evaluateModel(bundle.manifest, devices, score, trained.fleet);
  if (evaluation === null) throw new Error("nothing was evaluated");
  const { rows } = evaluation;
  expect(rows.every(({ score: one, threshold }) => Number.isFinite(one) && Number.isFinite(threshold))).toBe(true);
  return { ...evaluation, weights: trained.weights };
}

const alarmsIn = ({ rows }: Evaluation, from: number, to: number) =>
  rows.filter(({ rowIndex, alarm }) => rowIndex >= from && rowIndex < to && alarm === 1).length / (3 * (to - from));

test("a constant channel is learned beside the others, hides no fault of theirs, and is noticed once it changes", async () => {
  for (const faulty of [0, 1]) {
    const evaluation = await met(plan(), (row, usual) => {
      const fault = row >= FAULT_ROW ? 12 : 0;
      return [usual(0) + (faulty === 0 ? fault : 0), 7 + (faulty === 1 ? fault : 0), usual(2)];
    });
    expect(alarmsIn(evaluation, HEAD_ROWS, FAULT_ROW)).toBeLessThan(0.2);
    expect(alarmsIn(evaluation, FAULT_ROW + 20, ROWS)).toBe(1);
  }
});

test("rows in which all channels stand still are learned, and their first change is an alarm", async () => {
  const evaluation = await met(plan(), (row) => [row < FAULT_ROW ? 3 : 4, 0, -1e9]);
  expect(alarmsIn(evaluation, HEAD_ROWS, FAULT_ROW)).toBeLessThan(0.2);
  expect(alarmsIn(evaluation, FAULT_ROW + 20, ROWS)).toBe(1);
});

test("an alarm over rows that stood still is cleared once they do so again", async () => {
  const evaluation = await met(plan(), (row) => [row >= FAULT_ROW && row < FAULT_ROW + 10 ? 4 : 3, 0, -1e9]);
  expect(alarmsIn(evaluation, FAULT_ROW + 5, FAULT_ROW + 60)).toBe(1);
  expect(alarmsIn(evaluation, ROWS - 5, ROWS)).toBe(0);
});

test("a channel that is always missing says nothing, and the others are judged without it", async () => {
  const evaluation = await met(plan({ mask: true }), (row, usual) => [
    usual(0) + (row >= FAULT_ROW ? 12 : 0),
    usual(1),
    Number.NaN,
  ]);
  expect(alarmsIn(evaluation, HEAD_ROWS, FAULT_ROW)).toBeLessThan(0.2);
  expect(alarmsIn(evaluation, FAULT_ROW + 20, ROWS)).toBe(1);
});

test("units do not matter: in 10^9 and in 10^-9 the weights are nearly, and the answers exactly, those in 1", async () => {
  const inUnits = (unit: number) =>
    met(plan(), (row, usual) => {
      const readings = [usual(0), 2 * usual(1), usual(2) + (row >= FAULT_ROW ? 12 : 0)];
      return readings.map((value) => unit * (50 + value));
    });
  const plain = await inUnits(1);
  for (const unit of [1e9, 1e-9]) {
    const scaled = await inUnits(unit);
    expect(scaled.rows.map(({ alarm }) => alarm)).toEqual(plain.rows.map(({ alarm }) => alarm));
    for (const [i, weight] of scaled.weights.entries()) expect(weight).toBeCloseTo(Number(plain.weights[i]), 2);
  }
});

/** Score as a share of the threshold and judgement of each row after the head of a device that was in a fault in it. */
async function afterStartInFault(releaseAfterMs: number | null): Promise<(Judgement & { readonly ratio: number })[]> {
  const { bundle, model } = await open(plan({ releaseAfterMs }));
  const monitor = new DeviceMonitor(bundle.manifest);
  const scored = async (x: Float32Array, rows: number) => (await model.score(bundle.initialWeights, x, rows)).scores;
  const { rows } = stream(0, (row, usual) => [usual(0) + (row < HEAD_ROWS ? 40 : 0), usual(1), usual(2)], 1000);
  const judged: (Judgement & { readonly ratio: number })[] = [];
  for (const [index, row] of rows.entries()) {
    const atMs = 1000 * index;
    const observed = monitor.observe(row, atMs);
    if (index === HEAD_ROWS - 1) {
      const head = monitor.calibrationFeatures();
      monitor.calibrate(await scored(head.x, head.rows));
    }
    if (observed === null) continue;
    const score = monitor.smooth(Number((await scored(observed.features, 1))[0]));
    const threshold = Number(monitor.threshold);
    judged.push({ ...monitor.judge({ row, observed, score, threshold, atMs }), ratio: score / threshold });
  }
  return judged;
}

test("a device that starts in a fault takes it for normal: it alarms once it works, until its time is up", async () => {
  const kept = await afterStartInFault(null);
  expect(kept.slice(10).every(({ over, active, learnable }) => over && active && !learnable)).toBe(true);
  const released = await afterStartInFault(300_000);
  const [before, after] = [released.slice(10, 300), released.slice(400)];
  expect(before.every(({ over, ratio }) => over && ratio > 4)).toBe(true);
  expect(Math.max(...after.map(({ ratio }) => ratio))).toBeLessThan(2);
  expect(after.some(({ over }) => !over)).toBe(true);
});

test("one row is no stream to evaluate, tells the fleet nothing, and can be trained on", async () => {
  const { bundle, model } = await open(plan());
  const { manifest, initialWeights } = bundle;
  const alone = stream(0, (_, usual) => [usual(0), usual(1), usual(2)], 1);
  const score = (x: Float32Array, rows: number) => model.score(initialWeights, x, rows);
  expect(await evaluateModel(manifest, [alone], score, noFleet)).toBeNull();
  const monitor = new DeviceMonitor(manifest);
  expect(monitor.observe(alone.rows[0] ?? Float64Array.of(), 0)).toBeNull();
  expect([monitor.threshold, monitor.statistics(), monitor.calibrationFeatures().rows]).toEqual([null, null, 0]);
  const x = new Float32Array(manifest.featureCount).fill(1);
  const trained = await train({ bundle, model }, x);
  expect(trained && isUsable(trained)).toBe(true);
  expect(trained?.steps).toBe(manifest.training.passes);
});

function train({ bundle: { manifest, initialWeights }, model }: Awaited<ReturnType<typeof open>>, x: Float32Array) {
  const start = { local: initialWeights, base: initialWeights };
  const options = { learningRate: 0.1, trainingNumber: 0, gatewaySeed: 1, signal: new AbortController().signal };
  return trainLocally(model, manifest, start, { x, y: null, rows: x.length / manifest.featureCount }, options);
}

test.each([Number.NaN, Number.POSITIVE_INFINITY])("a training on a feature of %s is not usable", async (value) => {
  const opened = await open(plan());
  const x = new Float32Array(60 * opened.bundle.manifest.featureCount);
  x[17] = value;
  const trained = await train(opened, x);
  expect(trained && isUsable(trained)).toBe(false);
});

test("a training whose loss or any of whose weights is no number is not usable", () => {
  const training = { weights: Float32Array.of(1, 2), delta: Float32Array.of(1, 1), loss: 0.5, steps: 1 };
  expect(isUsable(training)).toBe(true);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(isUsable({ ...training, loss: value })).toBe(false);
    expect(isUsable({ ...training, weights: Float32Array.of(1, value) })).toBe(false);
    expect(isUsable({ ...training, delta: Float32Array.of(1, value) })).toBe(false);
  }
});

test("a score that is no number is not over, raises nothing, and is forgotten with the rows it is judged among", async () => {
  const { bundle } = await open(plan());
  const monitor = new DeviceMonitor(bundle.manifest);
  const random = seededRandom(6);
  let atMs = 0;
  const judge = (own: number) => {
    const row = Float64Array.of(random.normal(), random.normal(), random.normal());
    const observed = monitor.observe(row, atMs++);
    if (observed === null) return null;
    const score = monitor.smooth(own);
    return { score, ...monitor.judge({ row, observed, score, threshold: 1, atMs }) };
  };
  for (let row = 0; row < HEAD_ROWS; row++) expect(judge(0)).toBeNull();
  for (let row = 0; row < 8; row++) expect(judge(Number.NaN)).toMatchObject({ over: false, active: false });
  const { trailingRows } = bundle.manifest.score;
  for (let row = 1; row < trailingRows; row++) expect(judge(0.5)?.score).toBeNaN();
  expect(judge(0.5)).toMatchObject({ score: 0.5, over: false });
  const raised = Array.from({ length: trailingRows + 3 }, () => judge(9));
  expect(raised.at(-1)).toMatchObject({ over: true, active: true });
});

test("a held-out evaluation whose scores are no numbers is an error, not a measurement", async () => {
  const { bundle } = await open(plan());
  const columns = bundle.manifest.residualChannels.length;
  const broken = async (_: Float32Array, rows: number) => ({
    scores: new Float32Array(rows).fill(Number.NaN),
    residuals: new Float32Array(rows * columns),
  });
  const device = stream(0, (_, usual) => [usual(0), usual(1), usual(2)]);
  await expect(evaluateModel(bundle.manifest, [device], broken, noFleet)).rejects.toThrow(RangeError);
});

test.each([0, 1])("held-out labels of the class %i alone leave null what both are needed for", async (label) => {
  const { bundle, model } = await open(plan());
  const device = stream(0, (_, usual) => [usual(0), usual(1), usual(2)]);
  const labels = device.labels.fill(label);
  const score = (x: Float32Array, rows: number) => model.score(bundle.initialWeights, x, rows);
  const evaluation = await evaluateModel(bundle.manifest, [{ ...device, labels }], score, noFleet);
  expect(evaluation?.scores).toMatchObject({ n: ROWS - HEAD_ROWS, prAuc: null, vusPr: null });
  expect(evaluation?.scores.loss).toEqual(label === 0 ? expect.any(Number) : null);
});

test("a held-out stream with one bad cell is refused whole, by line and column", async () => {
  const { bundle } = await open(plan());
  const parse = (bad: string, at: number) => {
    const lines = Array.from({ length: HEAD_ROWS + 5 }, (_, row) => (row === at ? bad : "1,2,3,0"));
    const csv = ["load,constant,lost,anomaly", ...lines].join("\n");
    return parseHeldOutCsv("pump", Buffer.from(csv), bundle.manifest);
  };
  expect(parse("1,2,3,1", HEAD_ROWS).labels.indexOf(1)).toBe(HEAD_ROWS);
  expect(() => parse("1,NaN,3,0", 7)).toThrow('line 9: constant is "NaN"');
  expect(() => parse("1,,3,0", 7)).toThrow('line 9: constant is ""');
  expect(() => parse("1,2,3,NaN", HEAD_ROWS + 2)).toThrow('anomaly is "NaN"');
  expect(() => parse("1,2,3,1", 7)).toThrow("row 8 is labelled an anomaly");
});
