// Forests in onnxruntime, each a graph of its own, against the typed arrays.
import * as ort from "onnxruntime-node";
import { expect, onTestFinished, test } from "vitest";
import { IsolationForest } from "../../learning/isolation-forest.ts";
import {
  InvalidTreesError,
  type IsolationTrees,
  joinTrees,
  meanPathLength,
  poolTrees,
} from "../../learning/isolation-trees.ts";
import { seededRandom } from "../../learning/random.ts";
import { encodeForest } from "../../proto/forest-onnx.ts";
import { ForestScorer } from "../../runtime/forest-scorer.ts";

const CHANNELS = 8;

function randomRows(rows: number, seed: number): Float64Array {
  const random = seededRandom(seed);
  return Float64Array.from({ length: rows * CHANNELS }, (_, at) => 10 ** (at % CHANNELS) * (3 + random.normal()));
}

/** Scores of rows in the channels' units, by the forest's own scale. */
function open(forest: IsolationForest): (x: Float64Array) => Promise<Float32Array> {
  const scorer = new ForestScorer(() => encodeForest(forest.trees), CHANNELS);
  onTestFinished(() => scorer.release());
  return (x) => scorer.score(forest.trees.threshold, forest.standardise(x));
}

async function expectAgreement(forest: IsolationForest, x: Float64Array): Promise<void> {
  const computed = await open(forest)(x);
  const expected = forest.scoreRows(x);
  expect(computed.length).toBe(expected.length);
  expect(Math.max(...expected.map((score, row) => Math.abs(score - (computed[row] as number))))).toBeLessThan(1e-6);
}

test("100 trees agree with the typed arrays to 1e-6, in calls of any length", async () => {
  const forest = IsolationForest.train(randomRows(1000, 1), CHANNELS);
  const x = randomRows(1234, 2);
  await expectAgreement(forest, x);
  const score = open(forest);
  const all = await score(x);
  for (const rows of [1, 49, 50, 51]) {
    const some = await score(x.subarray(0, rows * CHANNELS));
    for (const [row, each] of some.entries()) expect(Math.abs(each - (all[row] as number))).toBeLessThan(1e-6);
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
  expect([...(await open(forest)(randomRows(2, 6)))]).toEqual([0.5, 0.5]);
});

test("a pool of 900 trees of three sizes agrees to 1e-6", async () => {
  const forests = [12, 100, 400].map((rows, seed) =>
    IsolationForest.train(randomRows(rows, seed), CHANNELS, { trees: 400, seed }),
  );
  const { trees } = poolTrees(
    forests.map((forest) => forest.trees),
    900,
  );
  expect(trees.root.length).toBe(900);
  const own = IsolationForest.train(randomRows(500, 7), CHANNELS).snapshot();
  await expectAgreement(IsolationForest.restore({ ...own, trees }), randomRows(300, 8));
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

test("no rows are no scores", async () => {
  const score = open(IsolationForest.train(randomRows(20, 1), CHANNELS));
  expect((await score(new Float64Array(0))).length).toBe(0);
});

test("each forest scores as itself, whichever were asked for before and beside it", async () => {
  const forests = [1, 2, 3, 4].map((seed) =>
    IsolationForest.train(randomRows(100, seed), CHANNELS, { trees: 20, seed }),
  );
  const forestOf = new Map(forests.map((forest) => [forest.trees.threshold, forest]));
  let graphs = 0;
  const onnxOf = (weights: Float32Array) => {
    graphs++;
    return encodeForest((forestOf.get(weights) as IsolationForest).trees);
  };
  const scorer = new ForestScorer(onnxOf, CHANNELS);
  onTestFinished(() => scorer.release());
  const x = randomRows(200, 9);
  const difference = async (forest: IsolationForest) => {
    const computed = await scorer.score(forest.trees.threshold, forest.standardise(x));
    return Math.max(...forest.scoreRows(x).map((score, row) => Math.abs(score - (computed[row] as number))));
  };
  const all = await Promise.all([...forests, ...forests].map(difference));
  expect(Math.max(...all)).toBeLessThan(1e-6);
  const before = graphs;
  for (const forest of [forests[2], forests[3], forests[2]]) await difference(forest as IsolationForest);
  expect(graphs).toBe(before); // the two asked for last are at hand
});

test("weights that are no forest, or a graph that is none, fail each time and leave the others at work", async () => {
  const sound = IsolationForest.train(randomRows(100, 1), CHANNELS, { trees: 5 });
  const broken = new Float32Array(1);
  const scorer = new ForestScorer((weights) => {
    if (weights === broken) return Buffer.from("no graph");
    if (weights.length === 0) throw new InvalidTreesError("no trees");
    return encodeForest(sound.trees);
  }, CHANNELS);
  onTestFinished(() => scorer.release());
  const x = sound.standardise(randomRows(3, 2));
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(scorer.score(broken, x)).rejects.toThrow();
    await expect(scorer.score(new Float32Array(0), x)).rejects.toThrow(InvalidTreesError);
    expect((await scorer.score(sound.trees.threshold, x)).length).toBe(3);
  }
});
