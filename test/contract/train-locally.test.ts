// A local training through the plan's own graphs.
import { expect, onTestFinished, test } from "vitest";
import { trainLocally } from "../../agent/train-locally.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { PlanSettings, TrainingSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { encodeOnnx } from "../../proto/onnx.ts";
import { PlanModel, type TrainingBatch } from "../../runtime/plan-model.ts";
import { compileGraphs } from "../support/compiled-graphs.ts";
import { OPTIMISERS } from "../support/plan-mixes.ts";
import { featuresOf, testPlan } from "../support/plan-settings.ts";

const running = new AbortController().signal;
const FEATURES = 12;

function randomBatch(rows: number, columns = FEATURES): TrainingBatch {
  const random = seededRandom(3);
  return { x: Float32Array.from({ length: rows * columns }, () => random.normal()), y: null, rows };
}

/** A function that trains as `training` says, on these rows, from the initial weights on. */
async function trainer(training: Partial<TrainingSettings>, change: Partial<PlanSettings> = {}) {
  const plan = compileGraphs({ ...testPlan, ...change, training: { ...testPlan.training, passes: 3, ...training } });
  const { manifest, initialWeights } = plan;
  const graphs = { scoreOnnx: encodeOnnx(plan.score), trainOnnx: encodeOnnx(plan.train) };
  const model = await PlanModel.load({ manifest, ...graphs });
  onTestFinished(() => model.release());
  return (data: TrainingBatch, { trainingNumber = 0, base = initialWeights, signal = running } = {}) => {
    const options = { learningRate: 0.05, trainingNumber, gatewaySeed: 1, signal };
    return trainLocally(model, manifest, { local: initialWeights, base }, data, options);
  };
}

/** The rows of a batch in the order of `order`. */
function ordered({ x, y, rows }: TrainingBatch, order: readonly number[]): TrainingBatch {
  const parts = order.map((row) => [...x.subarray(row * FEATURES, (row + 1) * FEATURES)]);
  return { x: Float32Array.from(parts.flat()), y, rows };
}

const reversed = Array.from({ length: 120 }, (_, row) => 119 - row);

test.each(OPTIMISERS)("the same rows give the same weights with $kind, to the bit", async (optimiser) => {
  for (const learnFrom of ["new_rows", "recent_rows"] as const) {
    const train = await trainer({ optimiser, learnFrom, clip: 1, l2: 0.01, proximal: 0.1 });
    const first = await train(randomBatch(120));
    expect(first?.steps).toBe(9);
    expect(await train(randomBatch(120))).toEqual(first); // the state of an optimiser is none of the next training's
  }
});

test("new rows are visited in their order, whatever the training's number", async () => {
  const train = await trainer({ learnFrom: "new_rows" });
  const [data, other] = [randomBatch(120), ordered(randomBatch(120), reversed)];
  expect(await train(data, { trainingNumber: 7 })).toEqual(await train(data));
  expect((await train(other))?.weights).not.toEqual((await train(data))?.weights);
});

test("recent rows are visited in another order in each training", async () => {
  const train = await trainer({ learnFrom: "recent_rows" });
  const [first, second] = [await train(randomBatch(120)), await train(randomBatch(120), { trainingNumber: 1 })];
  expect(second?.weights).not.toEqual(first?.weights);
  expect(second?.weights[0]).toBeCloseTo(first?.weights[0] as number, 1);
});

test("every row is visited once a pass: in one batch the order does not matter", async () => {
  const shuffled = await (await trainer({ learnFrom: "recent_rows", batchRows: 120 }))(randomBatch(120));
  const inOrder = await (await trainer({ learnFrom: "new_rows", batchRows: 120 }))(randomBatch(120));
  const distances = shuffled?.weights.map((weight, at) => Math.abs(weight - Number(inOrder?.weights[at]))) ?? [];
  expect(Math.max(...distances)).toBeLessThan(1e-5);
  expect(shuffled?.loss).toBeCloseTo(inOrder?.loss as number, 5);
});

test("a row keeps its label when the order changes", async () => {
  const logistic = {
    features: featuresOf({ kind: "window", rows: 1 }),
    model: { kind: "classifier", hidden: [] },
  } as const;
  const batch = randomBatch(120, 3);
  const labelled = {
    ...batch,
    y: Float32Array.from({ length: 120 }, (_, row) => Number(Number(batch.x[row * 3]) > 0)),
  };
  const settings = { loss: { kind: "cross_entropy" }, batchRows: 120 } as const;
  const shuffled = await (await trainer({ ...settings, learnFrom: "recent_rows" }, logistic))(labelled);
  const inOrder = await (await trainer({ ...settings, learnFrom: "new_rows" }, logistic))(labelled);
  expect(shuffled?.loss).toBeCloseTo(inOrder?.loss as number, 5);
});

test("a proximal term pulls towards the champion's weights", async () => {
  const base = compilePlan(testPlan).initialWeights.map((weight) => weight + 1);
  const distanceOf = async (proximal: number) => {
    const trained = await (await trainer({ proximal }))(randomBatch(120), { base });
    return Math.hypot(...(trained?.weights.map((weight, at) => weight - Number(base[at])) ?? []));
  };
  expect(await distanceOf(1)).toBeLessThan(0.9 * (await distanceOf(0)));
});

test("an aborted training gives nothing", async () => {
  const train = await trainer({});
  expect(await train(randomBatch(120), { signal: AbortSignal.abort() })).toBeNull();
});
