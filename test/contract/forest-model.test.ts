// The forest's ONNX graph in onnxruntime against the typed arrays.
import * as ort from "onnxruntime-node";
import { expect, onTestFinished, test } from "vitest";
import { IsolationForest } from "../../learning/isolation-forest.ts";
import { type IsolationTrees, joinTrees, meanPathLength, poolTrees } from "../../learning/isolation-trees.ts";
import { seededRandom } from "../../learning/random.ts";
import { encodeForest } from "../../proto/forest-onnx.ts";
import { ForestModel } from "../../runtime/forest-model.ts";

const CHANNELS = 8;

function randomRows(rows: number, seed: number): Float64Array {
  const random = seededRandom(seed);
  return Float64Array.from({ length: rows * CHANNELS }, (_, at) => 10 ** (at % CHANNELS) * (3 + random.normal()));
}

async function open(forest: IsolationForest): Promise<ForestModel> {
  const model = await ForestModel.load(forest, encodeForest(forest.trees));
  onTestFinished(() => model.release());
  return model;
}

async function expectAgreement(forest: IsolationForest, x: Float64Array): Promise<void> {
  const computed = await (await open(forest)).score(x);
  const expected = forest.scoreRows(x);
  expect(computed.length).toBe(expected.length);
  expect(Math.max(...expected.map((score, row) => Math.abs(score - (computed[row] as number))))).toBeLessThan(1e-6);
}

test("100 trees agree with the typed arrays to 1e-6, in calls of any length", async () => {
  const forest = IsolationForest.train(randomRows(1000, 1), CHANNELS);
  const x = randomRows(1234, 2);
  await expectAgreement(forest, x);
  const model = await open(forest);
  const all = await model.score(x);
  for (const rows of [1, 49, 50, 51]) {
    const some = await model.score(x.subarray(0, rows * CHANNELS));
    for (const [row, score] of some.entries()) expect(Math.abs(score - (all[row] as number))).toBeLessThan(1e-6);
  }
});

test("missing, infinite and wild values agree as well", async () => {
  const forest = IsolationForest.train(randomRows(300, 3), CHANNELS);
  const wild = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e308, -1e308, 0];
  await expectAgreement(
    forest,
    randomRows(100, 4).map((value, at) => (at % 3 === 0 ? (wild[at % wild.length] as number) : value)),
  );
});

test("values on a threshold go the same way in both", async () => {
  const x = randomRows(200, 5).map((value, at) => Math.round(value / 10 ** (at % CHANNELS)));
  const forest = IsolationForest.train(x, CHANNELS);
  await expectAgreement(forest, x);
  const { mean, sigma } = forest.snapshot();
  const { trees } = forest;
  const onThresholds = Float64Array.from({ length: 500 * CHANNELS }, (_, at) => {
    const node = at % trees.threshold.length;
    const channel = at % CHANNELS;
    return Number(mean[channel]) + Number(sigma[channel]) * Number(trees.threshold[node]);
  });
  await expectAgreement(forest, onThresholds);
});

test("constant data scores exactly 0.5, as it does in the typed arrays", async () => {
  const forest = IsolationForest.train(new Float64Array(300 * CHANNELS).fill(7), CHANNELS);
  expect([...(await (await open(forest)).score(randomRows(2, 6)))]).toEqual([0.5, 0.5]);
});

test("a pool of 900 trees of three sizes agrees to 1e-6", async () => {
  const own = randomRows(500, 7);
  const forests = [12, 100, 400].map((rows, seed) =>
    IsolationForest.train(randomRows(rows, seed), CHANNELS, { trees: 400, seed }),
  );
  const pool = poolTrees(
    forests.map(({ trees }) => trees),
    900,
  );
  expect(pool.root.length).toBe(900);
  await expectAgreement(IsolationForest.withTrees(pool, own), randomRows(300, 8));
});

test("the graph gives the mean path length beside the score, and the same trees give the same bytes", async () => {
  const trees: IsolationTrees = joinTrees(1, [
    {
      feature: Uint16Array.of(0, 0, 0, 0, 0),
      threshold: Float32Array.of(1, 0, 1, 2, 2),
      leftStep: Uint16Array.of(1, 2, 0, 0, 0),
      subsampleRows: 3,
    },
    { feature: Uint16Array.of(0), threshold: Float32Array.of(1), leftStep: Uint16Array.of(0), subsampleRows: 2 },
  ]);
  const onnx = encodeForest(trees);
  expect(encodeForest(structuredClone(trees))).toEqual(onnx);
  const session = await ort.InferenceSession.create(onnx);
  onTestFinished(() => session.release());
  const z = Float32Array.of(1, 1.5);
  const { path_length } = await session.run({ z: new ort.Tensor("float32", z, [2, 1]) });
  expect(path_length?.dims).toEqual([2, 1]);
  expect([0, 1].map((row) => meanPathLength(trees, z, row))).toEqual([1.5, 1]);
  const lengths = Array.from(path_length?.data as Float32Array);
  expect(lengths[0]).toBeCloseTo(1.5, 6);
  expect(lengths[1]).toBeCloseTo(1, 6);
});

test("a broken row is refused", async () => {
  const model = await open(IsolationForest.train(randomRows(20, 1), CHANNELS));
  await expect(model.score(new Float64Array(CHANNELS + 1))).rejects.toThrow(RangeError);
  expect((await model.score(new Float64Array(0))).length).toBe(0);
});
