// An isolation forest as weights: one flat vector of a fixed layout, so that it travels, is stored and is judged like any model.
import {
  heightLimit,
  InvalidTreesError,
  type IsolationTrees,
  joinTrees,
  meanSearchLength,
  type Tree,
  treeRange,
} from "./isolation-trees.ts";
import { layOut } from "./models/weight-layout.ts";
import type { Manifest, WeightTensor } from "./plan.ts";

/** What every forest of a plan has in common. */
export interface ForestShape {
  readonly trees: number;
  /** Every tree was grown from so many rows: path lengths of trees of other samples do not compare. */
  readonly subsampleRows: number;
  readonly features: number;
}

/** Null for a plan of another model. */
export function forestShape({ model, featureCount }: Pick<Manifest, "model" | "featureCount">): ForestShape | null {
  if (model.kind !== "isolation_forest") return null;
  return { trees: model.trees, subsampleRows: model.subsampleRows, features: featureCount };
}

/** In the place of a feature: here the walk has ended, and everything below says the same path length. */
const ENDED = -1;

/**
 * Each tree is a complete binary tree of height h = ⌈log2(subsampleRows)⌉, in the order of a heap: children of i are
 * 2i + 1 and 2i + 2. Where a branch ends higher, splits below have the feature −1 and the threshold 0, and all its ends
 * the same path length.
 */
export function forestLayout({ trees, subsampleRows }: Omit<ForestShape, "features">): WeightTensor[] {
  const ends = 2 ** heightLimit(subsampleRows);
  return layOut([
    { name: "feature", shape: [trees, ends - 1] },
    { name: "threshold", shape: [trees, ends - 1] },
    { name: "path_length", shape: [trees, ends] },
  ]);
}

/** Views of one tree's part of the vector. */
interface Slots {
  readonly feature: Float32Array;
  readonly threshold: Float32Array;
  readonly pathLength: Float32Array;
}

function slotsOf(weights: Float32Array, { trees, subsampleRows }: ForestShape, tree: number): Slots {
  const ends = 2 ** heightLimit(subsampleRows);
  const splits = ends - 1;
  const part = (from: number, length: number) => weights.subarray(from + tree * length, from + (tree + 1) * length);
  return {
    feature: part(0, splits),
    threshold: part(trees * splits, splits),
    pathLength: part(2 * trees * splits, ends),
  };
}

const lengthOf = ({ trees, subsampleRows }: ForestShape) => trees * (3 * 2 ** heightLimit(subsampleRows) - 2);

/** The forest that knows nothing: no tree splits, every row scores 0.5. */
export function unsplitForest(shape: ForestShape): Float32Array {
  const tree: Tree = {
    feature: Uint16Array.of(0),
    threshold: Float32Array.of(meanSearchLength(shape.subsampleRows)),
    leftStep: Uint16Array.of(0),
    subsampleRows: shape.subsampleRows,
  };
  return packForest(joinTrees(shape.features, new Array<Tree>(shape.trees).fill(tree)), shape);
}

/** The vector [P] of sound `trees`, in forestLayout's order. Throws InvalidTreesError when they are not of this shape. */
export function packForest(trees: IsolationTrees, shape: ForestShape): Float32Array {
  const { channels, subsampleRows } = trees;
  if (channels !== shape.features || subsampleRows.length !== shape.trees)
    throw new InvalidTreesError(
      `${subsampleRows.length} trees of ${channels} features; the plan's forests have ${shape.trees} of ${shape.features}`,
    );
  const other = subsampleRows.find((rows) => rows !== shape.subsampleRows);
  if (other !== undefined)
    throw new InvalidTreesError(`a tree of ${other} rows; the plan's are of ${shape.subsampleRows}`);
  const weights = new Float32Array(lengthOf(shape));
  for (let tree = 0; tree < shape.trees; tree++) packTree(trees, tree, slotsOf(weights, shape, tree));
  return weights;
}

function packTree(trees: IsolationTrees, index: number, { feature, threshold, pathLength }: Slots): void {
  const splits = feature.length;
  feature.fill(ENDED);
  const open: { readonly node: number; readonly slot: number }[] = [{ node: treeRange(trees, index).start, slot: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, slot } = next;
    const step = trees.leftStep[node] as number;
    if (step === 0) {
      const { from, to } = endsBelow(slot, splits);
      pathLength.fill(trees.threshold[node] as number, from, to);
      continue;
    }
    if (slot >= splits) throw new InvalidTreesError(`tree ${index} is higher than a tree of its rows can be`);
    feature[slot] = trees.feature[node] as number;
    threshold[slot] = trees.threshold[node] as number;
    open.push({ node: node + step, slot: 2 * slot + 1 }, { node: node + step + 1, slot: 2 * slot + 2 });
  }
}

const depthOf = (slot: number) => 31 - Math.clz32(slot + 1);

/** The ends [from, to) that a walk through heap place `slot` of a tree with so many `splits` can reach. */
function endsBelow(slot: number, splits: number): { from: number; to: number } {
  const width = (splits + 1) >> depthOf(slot);
  const from = (slot + 1 - 2 ** depthOf(slot)) * width;
  return { from, to: from + width };
}

/**
 * The trees that packForest made `weights` [P] of, exactly; anyone may have sent them. Throws InvalidTreesError unless
 * they are trees that can be grown from so many rows: features that there are, finite thresholds, and ends whose path
 * lengths are their depth + c(rows), with rows that add up to the sample's.
 */
export function unpackForest(weights: Float32Array, shape: ForestShape): IsolationTrees {
  if (weights.length !== lengthOf(shape))
    throw new InvalidTreesError(`${weights.length} weights; the plan's forests have ${lengthOf(shape)}`);
  const trees = Array.from({ length: shape.trees }, (_, tree) =>
    unpackTree(slotsOf(weights, shape, tree), shape, tree),
  );
  return joinTrees(shape.features, trees);
}

/** Nodes in the order of their slots, as they grow: a node's children come after it, next to each other. */
function unpackTree(slots: Slots, shape: ForestShape, index: number): Tree {
  const { feature, threshold } = slots;
  const nodes: { feature: number; threshold: number; leftStep: number }[] = [];
  const open = [0]; // slots in the order of their nodes
  let rows = 0;
  for (let node = 0; node < open.length; node++) {
    const slot = open[node] as number;
    const split = feature[slot] ?? ENDED;
    if (split === ENDED) {
      const end = endOf(slots, slot, shape.subsampleRows);
      if (end === null) throw new InvalidTreesError(`tree ${index}: what is below place ${slot} is no end of its rows`);
      rows += end.rows;
      nodes.push({ feature: 0, threshold: end.pathLength, leftStep: 0 });
      continue;
    }
    if (!(Number.isInteger(split) && split >= 0 && split < shape.features))
      throw new InvalidTreesError(`tree ${index} splits feature ${split}; there are ${shape.features}`);
    if (!Number.isFinite(threshold[slot])) throw new InvalidTreesError(`tree ${index}: a threshold is not finite`);
    nodes.push({ feature: split, threshold: threshold[slot] as number, leftStep: open.length - node });
    open.push(2 * slot + 1, 2 * slot + 2);
  }
  if (rows !== shape.subsampleRows)
    throw new InvalidTreesError(`tree ${index}: its ends hold ${rows} rows; it was grown from ${shape.subsampleRows}`);
  return {
    feature: Uint16Array.from(nodes, (node) => node.feature),
    threshold: Float32Array.from(nodes, (node) => node.threshold),
    leftStep: Uint16Array.from(nodes, (node) => node.leftStep),
    subsampleRows: shape.subsampleRows,
  };
}

/** The end at `slot`; null unless all below it says so, and its path length is that of a whole number of rows. */
function endOf(
  { feature, threshold, pathLength }: Slots,
  slot: number,
  mostRows: number,
): { readonly pathLength: number; readonly rows: number } | null {
  const { from, to } = endsBelow(slot, feature.length);
  const length = pathLength[from] as number;
  for (let end = from; end < to; end++) if (pathLength[end] !== length) return null;
  for (let [first, width] = [slot, 1]; first < feature.length; first = 2 * first + 1, width *= 2) {
    for (let below = first; below < first + width; below++)
      if (feature[below] !== ENDED || threshold[below] !== 0) return null;
  }
  const rows = rowsOfEnd(length, depthOf(slot), mostRows);
  return rows === null ? null : { pathLength: length, rows };
}

/** The number of rows of which depth + c(rows) is `length`, as float32 holds it; null: of none. */
function rowsOfEnd(length: number, depth: number, mostRows: number): number | null {
  const lengthOfRows = (rows: number) => Math.fround(depth + meanSearchLength(rows));
  let [low, high] = [1, mostRows];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lengthOfRows(middle) < length) low = middle + 1;
    else high = middle;
  }
  return lengthOfRows(low) === length ? low : null;
}
