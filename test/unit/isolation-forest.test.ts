import { describe, expect, test } from "vitest";
import { growTrees } from "../../learning/grow-trees.ts";
import { type ForestSettings, IsolationForest, TooFewRowsError } from "../../learning/isolation-forest.ts";
import {
  checkTrees,
  expectedPathLength,
  heightLimit,
  InvalidTreesError,
  type IsolationTrees,
  joinTrees,
  meanPathLength,
  meanSearchLength,
  poolTrees,
} from "../../learning/isolation-trees.ts";
import { seededRandom } from "../../learning/random.ts";

const CHANNELS = 3;

function normalRows(rows: number, seed: number, channels = CHANNELS): Float64Array {
  const random = seededRandom(seed);
  return Float64Array.from({ length: rows * channels }, () => random.normal());
}

const train = (x: Float64Array, settings: Partial<ForestSettings> = {}) => IsolationForest.train(x, CHANNELS, settings);
const standardised = (rows: number, seed: number) => Float32Array.from(normalRows(rows, seed));
const grow = (rows: number, seed: number, trees: number) =>
  growTrees(standardised(rows, seed), CHANNELS, { trees, subsampleRows: 256 }, seededRandom(seed));

/** x0 ≤ 1 ? (x1 ≤ -2 ? one row : two rows) : one row. */
const smallTree = {
  feature: Uint16Array.of(0, 1, 0, 0, 0),
  threshold: Float32Array.of(1, -2, 1, 2, 2 + 1),
  leftStep: Uint16Array.of(1, 2, 0, 0, 0),
  subsampleRows: 4,
};
const stump = {
  feature: Uint16Array.of(1, 0, 0),
  threshold: Float32Array.of(0, 1, 1),
  leftStep: Uint16Array.of(1, 0, 0),
  subsampleRows: 2,
};

describe("path lengths", () => {
  test("c(n) is the mean length of an unsuccessful search", () => {
    expect([0, 1, 2].map(meanSearchLength)).toEqual([0, 0, 1]);
    expect(meanSearchLength(3)).toBeCloseTo(2 * (Math.log(2) + 0.5772156649) - 4 / 3, 9);
    expect(meanSearchLength(256)).toBeCloseTo(10.2448, 4);
    expect([2, 3, 4, 5, 256].map(heightLimit)).toEqual([1, 2, 2, 3, 8]);
  });

  test("a row's path is counted to its leaf, and a threshold belongs to the left", () => {
    const tree = joinTrees(2, [smallTree]);
    const z = Float32Array.of(1, -2, 1, -1.9, 1.1, -5);
    expect([0, 2, 4].map((from) => meanPathLength(tree, z, from))).toEqual([2, 3, 1]);
  });

  test("trees of several sizes are averaged, and so is what is expected of them", () => {
    const trees = joinTrees(2, [smallTree, stump]);
    expect(meanPathLength(trees, Float32Array.of(0, 0))).toBe((3 + 1) / 2);
    expect(expectedPathLength(trees)).toBeCloseTo((meanSearchLength(4) + 1) / 2, 6);
  });

  test("four rows on a line: heights, sizes and leaves are what the algorithm says", () => {
    const trees = growTrees(Float32Array.of(0, 1, 2, 30), 1, { trees: 50, subsampleRows: 4 }, seededRandom(1));
    checkTrees(trees);
    const lengths = [0, 1, 2, 30].map((value) => meanPathLength(trees, Float32Array.of(value)));
    expect(lengths[3]).toBeGreaterThanOrEqual(1);
    expect(lengths[3]).toBeLessThan(1.2); // of 30 units all but two split it off at once
    expect(Math.max(...lengths)).toBeLessThanOrEqual(3); // at the height limit of 2, with two rows left
    expect(trees.subsampleRows.every((rows) => rows === 4)).toBe(true);
  });

  test("copies of one row cannot be split: their leaf counts what was left", () => {
    const z = Float32Array.of(5, 5, 5, 9);
    const trees = growTrees(z, 1, { trees: 5, subsampleRows: 4 }, seededRandom(1));
    expect(meanPathLength(trees, Float32Array.of(5))).toBeCloseTo(1 + meanSearchLength(3), 6);
    expect(meanPathLength(trees, Float32Array.of(9))).toBe(1);
  });

  test("rows are split until each stands alone or the height limit is reached", () => {
    const z = Float32Array.from({ length: 16 }, (_, row) => row);
    const trees = growTrees(z, 1, { trees: 30, subsampleRows: 16 }, seededRandom(2));
    const lengths = trees.threshold.filter((_, node) => trees.leftStep[node] === 0);
    const splits = trees.leftStep.length - lengths.length;
    expect(lengths.length).toBe(splits + 30);
    // c(3) and up are no whole numbers: leaves above the limit of 4 hold one row, and their length is their depth.
    expect(lengths.filter((length) => !Number.isInteger(length)).every((length) => length > 4)).toBe(true);
    expect(Math.max(...lengths)).toBeGreaterThan(4);
  });

  test("neighbouring floats are split, although no float lies between them", () => {
    const z = Float32Array.of(1, 1 + 2 ** -23);
    const trees = growTrees(z, 1, { trees: 20, subsampleRows: 2 }, seededRandom(1));
    expect([0, 1].map((row) => meanPathLength(trees, z, row))).toEqual([1, 1]);
  });
});

describe("the score", () => {
  test("an outlier scores higher than the middle, by the offset rule is an anomaly, and is so in one channel alone", () => {
    const forest = train(normalRows(1000, 1));
    const [middle, corner, single] = [
      [0, 0, 0],
      [8, -8, 8],
      [0, 9, 0],
    ].map((row) => forest.score(Float64Array.from(row))) as [number, number, number];
    expect(middle).toBeLessThan(0.45);
    expect(corner).toBeGreaterThan(0.7);
    expect(single).toBeGreaterThan(middle + 0.1);
    expect(forest.decision(middle)).toBeCloseTo(0.5 - middle, 12);
    expect(forest.decision(corner)).toBeLessThan(0);
    expect(forest.confidence(corner)).toBeGreaterThan(0.99);
    expect(forest.confidence(middle)).toBeLessThan(0.2);
  });

  test("it lies within 0 and 1, row by row as in one call", () => {
    const forest = train(normalRows(400, 2));
    const x = normalRows(500, 3).map((value, at) => value * 10 ** ((at % 40) - 20));
    const scores = forest.scoreRows(x);
    for (const [row, score] of scores.entries()) {
      expect(score > 0 && score < 1).toBe(true);
      expect(forest.score(x.subarray(row * CHANNELS, (row + 1) * CHANNELS))).toBe(score);
    }
  });

  test("the same seed gives the same bits, another seed other trees", () => {
    const x = normalRows(300, 4);
    expect(train(x, { seed: 7 }).snapshot()).toEqual(train(x, { seed: 7 }).snapshot());
    expect(train(x, { seed: 7 }).snapshot()).not.toEqual(train(x, { seed: 8 }).snapshot());
  });

  test("the order of the rows hardly matters to the ranking", () => {
    const x = normalRows(600, 5);
    const reversed = Float64Array.from({ length: x.length }, (_, at) => {
      const row = 599 - Math.floor(at / CHANNELS);
      return x[row * CHANNELS + (at % CHANNELS)] as number;
    });
    const probe = normalRows(300, 6);
    expect(rankCorrelation(train(x).scoreRows(probe), train(reversed).scoreRows(probe))).toBeGreaterThan(0.9);
  });

  test("units do not matter: channels in 10^9 and in 10^-9 score as they do in 1", () => {
    const [x, probe] = [normalRows(300, 7), normalRows(50, 8)];
    const units = [1e9, 1e-9, 1];
    const inUnits = (values: Float64Array) => values.map((value, at) => value * (units[at % CHANNELS] as number));
    const plain = train(x).scoreRows(probe);
    const scaled = train(inUnits(x)).scoreRows(inUnits(probe));
    for (const [row, score] of plain.entries()) expect(Math.abs((scaled[row] as number) - score)).toBeLessThan(0.01);
  });

  test("a contamination is the share of the training rows that are anomalies", () => {
    const x = normalRows(1000, 9);
    const anomalies = (contamination: number) => {
      const forest = train(x, { contamination });
      return forest.scoreRows(x).filter((score) => forest.decision(score) < 0).length;
    };
    expect([0.01, 0.1, 0.5].map(anomalies)).toEqual([10, 100, 500]);
    for (const wrong of [0, 0.6, -1, Number.NaN])
      expect(() => train(x, { contamination: wrong })).toThrow(`contamination ${wrong}`);
  });
});

/** Spearman's, without ties. */
function rankCorrelation(a: Float64Array, b: Float64Array): number {
  const ranks = (values: Float64Array) => {
    const sorted = values.toSorted();
    return values.map((value) => sorted.indexOf(value));
  };
  const [ra, rb] = [ranks(a), ranks(b)];
  const squares = ra.reduce((sum, rank, at) => sum + (rank - (rb[at] as number)) ** 2, 0);
  return 1 - (6 * squares) / (a.length * (a.length ** 2 - 1));
}

describe("rows that say little", () => {
  test("fewer than 10 rows with values are refused by name", () => {
    expect(() => train(normalRows(9, 1))).toThrow(TooFewRowsError);
    expect(() => train(normalRows(1, 1))).toThrow("needs 10 rows with values; there are 1");
    expect(() => train(new Float64Array(0))).toThrow(TooFewRowsError);
    const withEmptyRows = normalRows(12, 1).fill(Number.NaN, 3, 12);
    expect(() => train(withEmptyRows)).toThrow("there are 9");
    expect(train(normalRows(10, 1)).trees.subsampleRows[0]).toBe(10);
  });

  test("constant data: every row scores 0.5, and none is an anomaly", () => {
    const forest = train(new Float64Array(60).fill(0.1));
    expect([0.1, -1e9].map((value) => forest.score(new Float64Array(3).fill(value)))).toEqual([0.5, 0.5]);
    expect(forest.decision(0.5)).toBe(0);
  });

  test("a constant channel has no part in the score", () => {
    const x = normalRows(200, 2).map((value, at) => (at % CHANNELS === 1 ? 1e9 : value));
    const forest = train(x);
    const splits = forest.trees.feature.filter((_, node) => forest.trees.leftStep[node] !== 0);
    expect(new Set(splits)).toEqual(new Set([0, 2]));
    expect(forest.score(Float64Array.of(1, 7, 2))).toBe(forest.score(Float64Array.of(1, 1e9, 2)));
  });

  test("a missing value stands at its channel's mean, in training and in scoring", () => {
    const x = normalRows(300, 3).map((value, at) => 20 + value + (at % 50 === 0 ? Number.NaN : 0));
    const forest = train(x);
    const { mean } = forest.snapshot();
    expect(forest.score(Float64Array.of(Number.NaN, 21, 25))).toBe(
      forest.score(Float64Array.of(Number(mean[0]), 21, 25)),
    );
    const middle = forest.score(mean);
    for (const missing of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(forest.score(new Float64Array(3).fill(missing))).toBe(middle);
  });

  test("a channel that is always missing is like a constant one, and rows without values do not count", () => {
    const x = normalRows(200, 4).map((value, at) => (at % CHANNELS === 1 ? Number.NaN : value));
    const withEmptyRows = new Float64Array(x.length + 30).fill(Number.NaN);
    withEmptyRows.set(x, 30);
    expect(train(withEmptyRows).snapshot()).toEqual(train(x).snapshot());
    expect(train(x).score(Float64Array.of(9, 1, 9))).toBeGreaterThan(0.6);
  });

  test("values beyond what can be squared leave a score", () => {
    const x = normalRows(50, 5).map((value, at) => (at % CHANNELS === 0 ? value * 1e300 : value));
    expect(train(x).score(Float64Array.of(1e308, 9, 9))).toBeGreaterThan(0.5);
    expect(train(normalRows(50, 5)).score(Float64Array.of(-1e308, 1e308, 0))).toBeGreaterThan(0.5);
  });

  test("a channel whose statistics overflow stands at 0 for any trees", () => {
    const x = normalRows(50, 5).map((value, at) => (at % CHANNELS === 0 ? Math.sign(value) * 1.7e308 : value));
    expect(train(x).standardise(Float64Array.of(1.7e308, 0, 0))[0]).toBe(0);
  });

  test("broken rows and impossible settings are refused", () => {
    const x = normalRows(20, 1);
    expect(() => train(x.subarray(1))).toThrow("59 values are not rows of 3 channels");
    expect(() => IsolationForest.train(x, 0)).toThrow(RangeError);
    expect(() => train(x).score(x.subarray(0, 2))).toThrow("2 values");
    for (const settings of [{ trees: 0 }, { trees: 1.5 }, { subsampleRows: 1 }, { subsampleRows: 1e9 }])
      expect(() => train(x, settings)).toThrow(RangeError);
  });
});

describe("snapshots", () => {
  test("a restored forest scores, decides and calibrates the same, and shares nothing with the first", () => {
    const forest = train(normalRows(2000, 1), { contamination: 0.05 });
    const snapshot = structuredClone(forest.snapshot());
    const restored = IsolationForest.restore(snapshot);
    snapshot.trees.threshold.fill(0);
    const probe = normalRows(100, 2);
    expect(restored.scoreRows(probe)).toEqual(forest.scoreRows(probe));
    expect(restored.snapshot()).toEqual(forest.snapshot());
    expect(restored.snapshot().calibration.length).toBe(1000);
    for (const score of [0.3, 0.45, 0.6]) {
      expect(restored.decision(score)).toBe(forest.decision(score));
      expect(restored.confidence(score)).toBe(forest.confidence(score));
    }
  });

  test("one that does not fit together is refused", () => {
    const snapshot = train(normalRows(20, 1)).snapshot();
    expect(() => IsolationForest.restore({ ...snapshot, mean: new Float64Array(2) })).toThrow(InvalidTreesError);
    expect(() => IsolationForest.restore({ ...snapshot, offset: Number.NaN })).toThrow(InvalidTreesError);
    const endless = { ...snapshot.trees, leftStep: snapshot.trees.leftStep.map(() => 1) };
    expect(() => IsolationForest.restore({ ...snapshot, trees: endless })).toThrow(InvalidTreesError);
  });

  test.each<[string, Partial<IsolationTrees>]>([
    ["there is no first tree", { root: new Uint32Array(0) }],
    ["lengths that do not go together", { threshold: new Float32Array(4) }],
    ["a threshold is not finite", { threshold: Float32Array.of(Number.NaN, -2, 1, 2, 3) }],
    ["no path has length 99", { threshold: Float32Array.of(1, -2, 99, 2, 3) }],
    ["no path has length -1", { threshold: Float32Array.of(1, -2, -1, 2, 3) }],
    ["a child lies outside", { leftStep: Uint16Array.of(1, 3, 0, 0, 0) }],
    ["its nodes are no tree", { leftStep: Uint16Array.of(1, 1, 0, 0, 0) }],
    ["splits a channel that is not there", { feature: Uint16Array.of(0, 2, 0, 0, 0) }],
    ["cannot have 5 nodes of 2 rows", { subsampleRows: Uint32Array.of(2) }],
    ["cannot come from 1 rows", { subsampleRows: Uint32Array.of(1) }],
    ["0 channels", { channels: 0 }],
  ])("malformed trees are refused: %s", (why, wrong) => {
    const sound = joinTrees(2, [smallTree]);
    expect(() => checkTrees(sound)).not.toThrow();
    expect(() => checkTrees({ ...sound, ...wrong })).toThrow(InvalidTreesError);
    expect(() => checkTrees({ ...sound, ...wrong })).toThrow(why);
  });
});

test("one far channel among eight is hardly seen, all of them far are", () => {
  const own = normalRows(300, 3, 8);
  const forest = IsolationForest.train(own, 8);
  const usual = forest.scoreRows(own).sort();
  const at = (far: number) => forest.score(Float64Array.from({ length: 8 }, (_, channel) => (channel < far ? 50 : 0)));
  expect(at(1)).toBeLessThan(Number(usual[297]));
  expect(at(8)).toBeGreaterThan(0.65);
});

describe("pooling", () => {
  const forests = [grow(300, 1, 10), grow(40, 2, 20)];

  test("a pool's path length is the mean over all its trees, so a gateway weighs as many as it has", () => {
    const { trees: pool, taken } = poolTrees(forests, 30);
    expect(taken).toEqual([10, 20]);
    checkTrees(pool);
    const z = standardised(1, 3);
    const [first, second] = forests.map((forest) => meanPathLength(forest, z)) as [number, number];
    expect(meanPathLength(pool, z)).toBeCloseTo((10 * first + 20 * second) / 30, 12);
    expect(expectedPathLength(pool)).toBeCloseTo((10 * meanSearchLength(256) + 20 * meanSearchLength(40)) / 30, 5);
  });

  test("a bounded pool keeps each gateway's share", () => {
    for (const [most, shares] of [
      [12, [4, 8]],
      [3, [1, 2]],
      [100, [10, 20]],
    ] as const) {
      const { trees, taken } = poolTrees(forests, most);
      expect([256, 40].map((rows) => trees.subsampleRows.filter((given) => given === rows).length)).toEqual(shares);
      expect(taken).toEqual(shares);
    }
  });

  test("a forest alone is its own pool", () => {
    expect(poolTrees(forests.slice(0, 1), 10).trees).toEqual(forests[0]);
  });

  test("nothing, other channels and malformed trees are refused", () => {
    expect(() => poolTrees([], 10)).toThrow("there are no trees to pool");
    expect(() => poolTrees([grow(20, 1, 1), joinTrees(2, [stump])], 10)).toThrow("of 3 and of 2 channels");
    const hostile = { ...grow(20, 1, 1), leftStep: new Uint16Array(grow(20, 1, 1).leftStep.length).fill(9) };
    expect(() => poolTrees([hostile], 10)).toThrow(InvalidTreesError);
    expect(() => poolTrees(forests, 0)).toThrow(RangeError);
  });
});
