// The ONNX graphs in onnxruntime against steps written by hand, through the bundle that a gateway would fetch.
import { spawnSync } from "node:child_process";
import * as ort from "onnxruntime-node";
import { expect, onTestFinished, test } from "vitest";
import { EXAMPLE_STEP, exampleInputs } from "../../learning/check-plan.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { GraphBuilder } from "../../learning/graph/builder.ts";
import type { Value } from "../../learning/graph/graph.ts";
import { interpret, tensor } from "../../learning/graph/interpret.ts";
import { BASE, nextName, WEIGHTS } from "../../learning/models/signature.ts";
import type { Manifest, PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { encodeOnnx } from "../../proto/onnx.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { initialOptimiserState, PlanModel } from "../../runtime/plan-model.ts";
import { compileGraphs } from "../support/compiled-graphs.ts";
import { expectClose, randomInputs } from "../support/graph-checks.ts";
import { PlainDense, plainLogisticStep } from "../support/plain-autoencoder.ts";
import { nameOf, PLAN_MIXES } from "../support/plan-mixes.ts";
import { featuresOf, testForecaster, testPlan } from "../support/plan-settings.ts";

async function openPlan(settings: PlanSettings) {
  const { bytes, planId } = encodeBundle(compilePlan(settings));
  const bundle = decodeBundle(bytes, planId);
  const model = await PlanModel.load(bundle);
  onTestFinished(() => model.release());
  return { ...bundle, model };
}

/** Where a training under `manifest` begins: at `weights`, which are the champion's. */
const startAt = (manifest: Manifest, weights: Float32Array) => ({
  weights,
  base: weights,
  state: initialOptimiserState(manifest),
});

function randomRows(rows: number, columns: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: rows * columns }, () => random.normal());
}

/** Columns [start, end) of each row, in float64. */
function pick(x: Float32Array, columns: number, start: number, end: number): Float64Array {
  return Float64Array.from(x.filter((_, at) => at % columns >= start && at % columns < end));
}

const float = (values: Float32Array | number[], shape: readonly number[]) => new ort.Tensor("float32", values, shape);

/** One run of a graph; the result reads its outputs by name. */
async function run(onnx: Uint8Array, feeds: Record<string, ort.Tensor>) {
  const session = await ort.InferenceSession.create(onnx);
  onTestFinished(() => session.release());
  const outputs = await session.run(feeds);
  return (name: string) => ({ dims: outputs[name]?.dims, data: outputs[name]?.data as Float32Array });
}

const linear: PlanSettings = { ...testForecaster, model: { kind: "dense_forecaster", hidden: [] } };

interface Case {
  readonly name: string;
  readonly settings: PlanSettings;
  readonly widths: readonly number[];
  /** Columns of the row that the model sees, and that it predicts. */
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
}

test.each<Case>([
  { name: "autoencoder", settings: testPlan, widths: [12, 5, 4, 12], from: [0, 12], to: [0, 12] },
  { name: "dense forecaster", settings: testForecaster, widths: [6, 4, 3], from: [0, 6], to: [6, 9] },
  { name: "linear forecaster", settings: linear, widths: [6, 3], from: [0, 6], to: [6, 9] },
])("20 steps of the $name in onnxruntime are 20 steps of the plain one", async (given) => {
  const { model, manifest, initialWeights } = await openPlan(given.settings);
  const columns = manifest.featureCount;
  const x = randomRows(50, columns, 3);
  const plain = new PlainDense(given.widths, initialWeights, 50);
  const [input, target] = [pick(x, columns, ...given.from), pick(x, columns, ...given.to)];
  let at = startAt(manifest, initialWeights);
  for (let step = 0; step < 20; step++) {
    const trained = await model.train(at, { x, y: null, rows: 50 }, 0.05);
    expect(Math.abs(trained.loss / plain.train(input, target, 0.05) - 1)).toBeLessThan(1e-5);
    at = { ...at, ...trained };
  }
  expectClose(at.weights, plain.weights, 1e-5);
  expect(at.state).toEqual({ steps: 20, moments: {} });
});

test("training lowers the loss and the score of the rows it learned from", async () => {
  const { model, manifest, initialWeights } = await openPlan(testPlan);
  const x = randomRows(50, manifest.featureCount, 5).map((value) => 0.2 * value + 0.5);
  const before = await model.score(initialWeights, x, 50);
  const batch = { x, y: null, rows: 50 };
  const first = await model.train(startAt(manifest, initialWeights), batch, 0.05);
  let trained = first;
  for (let step = 0; step < 200; step++) trained = await model.train({ ...trained, base: initialWeights }, batch, 0.05);
  const after = await model.score(trained.weights, x, 50);
  const mean = (scores: Float32Array) => scores.reduce((sum, score) => sum + score, 0) / scores.length;
  expect(trained.loss).toBeLessThan(0.5 * first.loss);
  expect(mean(after.scores)).toBeLessThan(0.8 * mean(before.scores));
});

test("scores are the root of the mean residual, and the same in one call, in chunks and row by row", async () => {
  const { model, manifest, initialWeights } = await openPlan(testPlan);
  const columns = manifest.featureCount;
  const x = randomRows(2345, columns, 9);
  const all = await model.score(initialWeights, x, 2345);
  const expected = interpret(compileGraphs(testPlan).score, {
    x: tensor([2345, columns], x),
    [WEIGHTS]: tensor([initialWeights.length], initialWeights),
  });
  expectClose(all.scores, expected.score?.data ?? [], 1e-5);
  expectClose(all.residuals, expected.residual?.data ?? [], 1e-5);
  for (const row of [0, 999, 1000, 1001, 2344]) {
    const one = await model.score(initialWeights, x.subarray(row * columns, (row + 1) * columns), 1);
    expectClose(one.scores, all.scores.subarray(row, row + 1), 1e-6);
    expectClose(one.residuals, all.residuals.subarray(row * columns, (row + 1) * columns), 1e-6);
  }
});

test("calls may overlap, and what they return is the caller's own", async () => {
  const { model, manifest, initialWeights } = await openPlan(testPlan);
  const x = randomRows(10, manifest.featureCount, 1);
  const before = initialWeights.slice();
  const step = () => model.train(startAt(manifest, initialWeights), { x, y: null, rows: 10 }, 0.1);
  const alone = await step();
  const copy = alone.weights.slice();
  const together = await Promise.all([1, 2, 3].map(step));
  for (const other of together) expect(other).toEqual(alone);
  together[0]?.weights.fill(0);
  for (let more = 0; more < 1000; more++) await step();
  expect(together[1]).toEqual(alone);
  expect(alone.weights).toEqual(copy);
  expect(initialWeights).toEqual(before);
});

const classifier: PlanSettings = {
  ...testPlan,
  features: featuresOf({ kind: "window", rows: 1 }),
  model: { kind: "classifier", hidden: [] },
  training: { ...testPlan.training, loss: { kind: "cross_entropy" } },
};

test("lengths that do not fit the plan, and labels for a model that takes none, are refused", async () => {
  const { model, manifest, initialWeights } = await openPlan(testPlan);
  const x = randomRows(2, 12, 1);
  const start = startAt(manifest, initialWeights);
  const batch = { x, y: null, rows: 2 };
  await expect(model.score(initialWeights, x, 3)).rejects.toThrow("24 values are not 3 rows of 12 features");
  await expect(model.score(initialWeights, new Float32Array(0), 0)).rejects.toThrow(RangeError);
  const short = { ...start, weights: initialWeights.subarray(1) };
  await expect(model.train(short, batch, 0.1)).rejects.toThrow("the plan has");
  const labelled = { ...batch, y: Float32Array.of(0, 1) };
  await expect(model.train(start, labelled, 0.1)).rejects.toThrow(
    "2 labels for 2 rows; a dense_autoencoder takes none",
  );
});

test("a classifier's labels must be as many as its rows", async () => {
  const { model, manifest, initialWeights } = await openPlan(classifier);
  const start = startAt(manifest, initialWeights);
  for (const [y, fault] of [
    [null, "no labels for 2 rows; a classifier takes 2"],
    [Float32Array.of(1), "1 labels for 2 rows"],
  ] as const)
    await expect(model.train(start, { x: randomRows(2, 3, 1), y, rows: 2 }, 0.1)).rejects.toThrow(fault);
});

test("a step of the logistic classifier in onnxruntime is a step of the plain one", async () => {
  const { model, manifest } = await openPlan(classifier);
  const x = randomRows(30, 3, 2);
  const y = Float32Array.from({ length: 30 }, (_, row) => Number((x[row * 3] as number) > 0));
  const weights = Float32Array.of(0.3, -0.2, 0.1, -0.4);
  const step = await model.train(startAt(manifest, weights), { x, y, rows: 30 }, 0.5);
  const plain = plainLogisticStep([...weights], Float64Array.from(x), Float64Array.from(y), 0.5);
  expectClose([step.loss], [plain.loss], 1e-6);
  expectClose(step.weights, plain.weights, 1e-6);
});

test("a classifier learns what a label depends on", async () => {
  const { model, manifest, initialWeights } = await openPlan({
    ...classifier,
    model: { kind: "classifier", hidden: [4] },
  });
  const x = randomRows(200, 3, 4);
  const y = Float32Array.from({ length: 200 }, (_, row) => Number((x[row * 3] as number) > 0));
  let at = startAt(manifest, initialWeights);
  for (let step = 0; step < 500; step++) at = { ...at, ...(await model.train(at, { x, y, rows: 200 }, 0.5)) };
  const { scores } = await model.score(at.weights, x, 200);
  const right = scores.filter((score, row) => score > 0.5 === (y[row] === 1)).length;
  expect(right).toBeGreaterThan(190);
});

test("a step of every mix in onnxruntime is the interpreter's, and so is the score", async () => {
  for (const settings of PLAN_MIXES) {
    const plan = compileGraphs(settings);
    const { bytes, planId } = encodeBundle(plan);
    const model = await PlanModel.load(decodeBundle(bytes, planId));
    const inputs = exampleInputs(plan.train, plan.initialWeights, 5, 6);
    const floats = (name: string) => Float32Array.from(inputs[name]?.data ?? []);
    const names = Object.keys(initialOptimiserState(plan.manifest).moments);
    const state = { steps: EXAMPLE_STEP - 1, moments: Object.fromEntries(names.map((name) => [name, floats(name)])) };
    const batch = { x: floats("x"), y: inputs.y ? floats("y") : null, rows: 5 };
    const step = await model.train({ weights: floats(WEIGHTS), base: floats(BASE), state }, batch, 0.01);
    const expected = interpret(plan.train, inputs);
    const wanted = (name: string) => expected[name]?.data ?? [];
    expectClose([step.loss], wanted("loss"), 1e-5);
    expectClose(step.weights, wanted(nextName(WEIGHTS)), 1e-5);
    for (const name of names) expectClose(step.state.moments[name] ?? [], wanted(nextName(name)), 1e-5);
    expect(step.state.steps, nameOf(settings)).toBe(EXAMPLE_STEP);
    const scored = await model.score(floats(WEIGHTS), batch.x, 5);
    const { score, residual } = interpret(plan.score, inputs);
    expectClose(scored.scores, score?.data ?? [], 1e-5);
    expectClose(scored.residuals, residual?.data ?? [], 1e-5);
    await model.release();
  }
});

test("every operation means the same in onnxruntime and in the interpreter", async () => {
  const b = new GraphBuilder();
  const [x, w, row] = [b.input("x", ["N", 4]), b.input("w", [4, 3]), b.input("row", [3])];
  const squares = b.add(b.mul(x, x), b.constant([], [0.5]));
  const outputs: Record<string, Value> = {
    gemm: b.gemm(x, w, { c: row }),
    transA: b.gemm(x, b.tanh(x), { transA: true }),
    transB: b.gemm(b.sigmoid(x), squares, { transB: true }),
    transBoth: b.gemm(w, x, { transA: true, transB: true }),
    sub: b.sub(b.neg(row), b.softplus(w)),
    div: b.div(x, b.sqrt(squares)),
    sum: b.sum(x, [0]),
    mean: b.mean(x, [1]),
    norm: b.norm(x, [1]),
    sumSquares: b.sumSquares(x, [0, 1]),
    unsqueeze: b.unsqueeze(b.mean(x, [0]), [1]),
    squeeze: b.squeeze(b.slice(x, 1, 2, 3), [1]),
    max: b.max(x, b.neg(x)),
    columns: b.slice(x, 1, 1, 3),
    elements: b.slice(row, 0, 1, 3),
    pad: b.pad(x, 1, 2, 1),
    padVector: b.pad(row, 0, 0, 2),
    concat: b.concat([x, b.slice(x, 1, 0, 1)], 1),
    concatVectors: b.concat([row, row], 0),
    reshape: b.reshape(x, ["N*2", 2]),
    reshapeBack: b.reshape(b.reshape(x, ["N*2", 2]), ["N", 4]),
    flat: b.reshape(w, [12]),
    clip: b.clip(x, 0.4),
    largest: b.largest(x, 2),
    broadcast: b.broadcastLike(row, b.gemm(x, w)),
    size: b.size(x),
  };
  const graph = b.build("operations", outputs);
  const given = randomInputs(graph, 5, 4);
  const feeds = Object.entries(given).map(([name, { data, shape }]) => [name, float(Float32Array.from(data), shape)]);
  const computed = await run(encodeOnnx(graph), Object.fromEntries(feeds));
  for (const [name, { shape, data }] of Object.entries(interpret(graph, given))) {
    expect([name, computed(name).dims]).toEqual([name, shape]);
    expectClose(computed(name).data, data, 1e-5);
  }
});

test("a graph that onnxruntime refuses, or cannot run, is an exception and not a line on standard error", () => {
  const script = `
    const { GraphBuilder } = await import("./learning/graph/builder.ts");
    const { encodeOnnx } = await import("./proto/onnx.ts");
    const { PlanModel } = await import("./runtime/plan-model.ts");
    const { compileGraphs } = await import("./test/support/compiled-graphs.ts");
    const { testPlan } = await import("./test/support/plan-settings.ts");
    const plan = compileGraphs(testPlan);
    const [scoreOnnx, trainOnnx] = [encodeOnnx(plan.score), encodeOnnx(plan.train)];
    const model = await PlanModel.load({ manifest: plan.manifest, scoreOnnx, trainOnnx });
    await model.score(plan.initialWeights, new Float32Array(12), 1);
    await model.release();
    const b = new GraphBuilder();
    const [x, weights] = [b.input("x", ["N", 12]), b.input("weights", [plan.initialWeights.length])];
    const residual = b.broadcastLike(weights, x);
    const broken = encodeOnnx(b.build("score", { score: b.sum(residual, [1]), residual }));
    const failing = await PlanModel.load({ manifest: plan.manifest, scoreOnnx: broken, trainOnnx });
    await failing.score(plan.initialWeights, new Float32Array(12), 1).then(
      () => console.log("scored"),
      (error) => console.log("failed"),
    );
    await failing.release();
    await PlanModel.load({ manifest: plan.manifest, scoreOnnx, trainOnnx: trainOnnx.fill(1, 40, 60) }).then(
      () => console.log("loaded"),
      (error) => console.log("refused"),
    );`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: packageRoot,
    encoding: "utf8",
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  expect({ stdout, stderr }).toEqual({ stdout: "failed\nrefused\n", stderr: "" });
});
