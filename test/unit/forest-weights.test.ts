// Forests as flat vectors: there and back exactly, and nothing but forests back.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type ForestShape,
  forestLayout,
  packForest,
  unpackForest,
  unsplitForest,
} from "../../learning/forest-weights.ts";
import { growTrees } from "../../learning/grow-trees.ts";
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
  type Tree,
} from "../../learning/isolation-trees.ts";
import { weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";

const SHAPE: ForestShape = { trees: 5, subsampleRows: 32, features: 3 };
const SPLITS = 31;

/** `levels`: so many different values a feature; null: any. */
function rowsOf(count: number, features: number, seed: number, levels: number | null = null): Float32Array {
  const random = seededRandom(seed);
  const value = () => (levels === null ? random.normal() : Math.floor(levels * random.next()));
  return Float32Array.from({ length: count * features }, value);
}

const grow = (shape: ForestShape, seed: number, levels: number | null = null): IsolationTrees =>
  growTrees(rowsOf(2 * shape.subsampleRows, shape.features, seed, levels), shape.features, shape, seededRandom(seed));

const shapes = fc.record({
  trees: fc.integer({ min: 1, max: 6 }),
  subsampleRows: fc.integer({ min: 2, max: 300 }),
  features: fc.integer({ min: 1, max: 5 }),
});

test("trees come back as they were, whatever they were grown from", () => {
  fc.assert(
    fc.property(shapes, fc.nat(), fc.constantFrom(null, 1, 2, 5), (shape, seed, levels) => {
      const trees = grow(shape, seed, levels);
      const weights = packForest(trees, shape);
      expect(weights.length).toBe(weightCount(forestLayout(shape)));
      expect(weights.every(Number.isFinite)).toBe(true);
      expect(unpackForest(weights, shape)).toEqual(trees);
    }),
    { numRuns: 200, seed: 1 },
  );
});

test("a walk to the lowest level ends at the path length of the tree's own, wherever that had ended", () => {
  const trees = grow(SHAPE, 1, 4);
  const weights = packForest(trees, SHAPE);
  const [thresholds, lengths] = [SHAPE.trees * SPLITS, 2 * SHAPE.trees * SPLITS];
  const walk = (tree: number, row: Float32Array) => {
    let slot = 0;
    while (slot < SPLITS) {
      const feature = weights[tree * SPLITS + slot] as number;
      const right = feature >= 0 && Number(row[feature]) > Number(weights[thresholds + tree * SPLITS + slot]);
      slot = 2 * slot + (right ? 2 : 1);
    }
    return weights[lengths + tree * (SPLITS + 1) + slot - SPLITS] as number;
  };
  const rows = rowsOf(100, SHAPE.features, 2, 4);
  for (let from = 0; from < rows.length; from += SHAPE.features) {
    const row = rows.subarray(from, from + SHAPE.features);
    const walks = Array.from({ length: SHAPE.trees }, (_, tree) => walk(tree, row));
    expect(walks.reduce((sum, length) => sum + length, 0) / SHAPE.trees).toBeCloseTo(meanPathLength(trees, row), 6);
  }
});

test("a forest that knows nothing is one: every row scores 0.5", () => {
  const trees = unpackForest(unsplitForest(SHAPE), SHAPE);
  checkTrees(trees);
  const row = rowsOf(1, SHAPE.features, 3);
  expect(2 ** (-meanPathLength(trees, row) / expectedPathLength(trees))).toBe(0.5);
});

test("trees of another shape are not packed", () => {
  const trees = grow(SHAPE, 1);
  expect(() => packForest(trees, { ...SHAPE, trees: 6 })).toThrow(
    "5 trees of 3 features; the plan's forests have 6 of 3",
  );
  expect(() => packForest(trees, { ...SHAPE, features: 4 })).toThrow(InvalidTreesError);
  expect(() => packForest(trees, { ...SHAPE, subsampleRows: 64 })).toThrow("a tree of 32 rows; the plan's are of 64");
  const chain = joinTrees(1, [chainOf(9)]);
  expect(() => packForest(chain, { trees: 1, subsampleRows: 16, features: 1 })).toThrow(
    "higher than a tree of its rows",
  );
});

/** A tree of 16 rows that splits one row off `height` times. */
function chainOf(height: number): Tree {
  const nodes = 2 * height + 1;
  const isSplit = (node: number) => node < nodes - 1 && (node === 0 || node % 2 === 0);
  return {
    feature: new Uint16Array(nodes),
    threshold: new Float32Array(nodes).fill(1),
    leftStep: Uint16Array.from({ length: nodes }, (_, node) => (isSplit(node) ? 1 : 0)),
    subsampleRows: 16,
  };
}

describe("what is no forest is refused by name", () => {
  const sound = packForest(grow(SHAPE, 1), SHAPE);
  const thresholds = SHAPE.trees * SPLITS;
  const lengths = 2 * thresholds;
  const ended = sound.findIndex((value, at) => at < thresholds && value === -1);
  test.each<[string, (weights: Float32Array) => Float32Array, string]>([
    ["a value too few", (weights) => weights.subarray(1), "the plan's forests have 470"],
    ["half a feature", (weights) => weights.with(0, 0.5), "tree 0 splits feature 0.5; there are 3"],
    ["a feature too many", (weights) => weights.with(0, 3), "splits feature 3"],
    ["a feature below none", (weights) => weights.with(0, -2), "splits feature -2"],
    ["NaN for a feature", (weights) => weights.with(0, Number.NaN), "splits feature NaN"],
    ["an endless threshold", (weights) => weights.with(thresholds, Number.POSITIVE_INFINITY), "is not finite"],
    ["a root that ends, and a tree below it", (weights) => weights.with(0, -1), "is no end of its rows"],
    ["a threshold where all has ended", (weights) => weights.with(thresholds + ended, 1), "is no end of its rows"],
    ["a split where all has ended", (weights) => weights.with(ended, 0), "is no end of its rows"],
    ["a path of no number of rows", (weights) => weights.with(lengths, 5.4321), "is no end of its rows"],
    ["a path of no length", (weights) => weights.with(lengths, 0), "is no end of its rows"],
    ["a path of NaN", (weights) => weights.with(lengths, Number.NaN), "is no end of its rows"],
  ])("%s", (_, change, why) => {
    expect(() => unpackForest(sound, SHAPE)).not.toThrow();
    expect(() => unpackForest(change(sound), SHAPE)).toThrow(InvalidTreesError);
    expect(() => unpackForest(change(sound), SHAPE)).toThrow(why);
  });

  test("a walk below an end that says another path length", () => {
    const last = lengths + SPLITS;
    const other = unsplitForest(SHAPE).with(last, 1 + meanSearchLength(31));
    expect(() => unpackForest(other, SHAPE)).toThrow("tree 0: what is below place 0 is no end of its rows");
  });

  test("ends whose rows are more or fewer than the tree was grown from", () => {
    const shape = { trees: 1, subsampleRows: 16, features: 1 };
    const stump = (left: number, right: number): Tree => ({
      feature: Uint16Array.of(0, 0, 0),
      threshold: Float32Array.of(0, 1 + meanSearchLength(left), 1 + meanSearchLength(right)),
      leftStep: Uint16Array.of(1, 0, 0),
      subsampleRows: 16,
    });
    const unpacked = (tree: Tree) => unpackForest(packForest(joinTrees(1, [tree]), shape), shape);
    expect(() => unpacked(stump(6, 10))).not.toThrow();
    expect(() => unpacked(stump(1, 1))).toThrow("its ends hold 2 rows; it was grown from 16");
    expect(() => unpacked(stump(16, 16))).toThrow("its ends hold 32 rows; it was grown from 16");
  });

  test("any other number in any place is refused, or leaves trees that are sound", () => {
    fc.assert(
      fc.property(fc.nat(sound.length - 1), fc.float(), (at, value) => {
        try {
          checkTrees(unpackForest(sound.with(at, value), SHAPE));
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidTreesError);
          expect(at < thresholds || at >= lengths || !Number.isFinite(value) || sound[at - thresholds] === -1).toBe(
            true,
          );
        }
      }),
      { numRuns: 2000, seed: 1 },
    );
  });
});

test("a fifth of the gateways, whatever trees they send, multiply a score by 0.79 to 1.26 at most", () => {
  const shape: ForestShape = { trees: 100, subsampleRows: 256, features: 4 };
  const honest = [1, 2, 3, 4].map((seed) => unpackForest(packForest(grow(shape, seed), shape), shape));
  const rows = rowsOf(300, shape.features, 9).map((value, at) => (at % 40 < 4 ? 4 * value : value));
  const scores = (forests: readonly IsolationTrees[]) => {
    const { trees, taken } = poolTrees(forests, shape.trees);
    expect(taken).toEqual(forests.map(() => shape.trees / forests.length));
    const score = (_: unknown, row: number) =>
      2 ** (-meanPathLength(trees, rows, row * shape.features) / expectedPathLength(trees));
    return Array.from({ length: rows.length / shape.features }, score);
  };
  // Every path of a sound tree of n rows is 1 to ⌈log2 n⌉ + c(n - ⌈log2 n⌉) long: a fifth of them moves E[h] by a fifth.
  const height = heightLimit(shape.subsampleRows);
  const longest = height + meanSearchLength(shape.subsampleRows - height);
  const most = 2 ** ((0.2 * (longest - 1)) / meanSearchLength(shape.subsampleRows));
  expect(most).toBeLessThan(1.263);
  for (const lie of [everythingStrange(shape), everythingNormal(shape), unpackForest(unsplitForest(shape), shape)]) {
    checkTrees(lie);
    expect(unpackForest(packForest(lie, shape), shape)).toEqual(lie);
    // Against the same pool with an honest fifth in the liar's place.
    const [before, after] = [scores([...honest, honest[0] as IsolationTrees]), scores([...honest, lie])];
    for (const [row, score] of after.entries()) {
      expect(score / Number(before[row])).toBeLessThan(most);
      expect(score / Number(before[row])).toBeGreaterThan(1 / most);
    }
  }
});

/** Rows above −1e9 end at depth 1, as if alone. */
function everythingStrange(shape: ForestShape): IsolationTrees {
  const tree: Tree = {
    feature: Uint16Array.of(0, 0, 0),
    threshold: Float32Array.of(-1e9, 1 + meanSearchLength(shape.subsampleRows - 1), 1),
    leftStep: Uint16Array.of(1, 0, 0),
    subsampleRows: shape.subsampleRows,
  };
  return joinTrees(shape.features, new Array<Tree>(shape.trees).fill(tree));
}

/** Rows go down to the lowest level and end there among all but a few. */
function everythingNormal(shape: ForestShape): IsolationTrees {
  const height = heightLimit(shape.subsampleRows);
  // Nodes: split, then its left child's split or end, then its right end of one row.
  const nodes: { readonly threshold: number; readonly leftStep: number }[] = [{ threshold: 1e9, leftStep: 1 }];
  for (let depth = 1; depth <= height; depth++) {
    const last = depth === height;
    const end = depth + meanSearchLength(shape.subsampleRows - height);
    nodes.push({ threshold: last ? end : 1e9, leftStep: last ? 0 : 2 }, { threshold: depth, leftStep: 0 });
  }
  const tree: Tree = {
    feature: new Uint16Array(nodes.length),
    threshold: Float32Array.from(nodes, (node) => node.threshold),
    leftStep: Uint16Array.from(nodes, (node) => node.leftStep),
    subsampleRows: shape.subsampleRows,
  };
  return joinTrees(shape.features, new Array<Tree>(shape.trees).fill(tree));
}
