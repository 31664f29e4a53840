// Isolation trees in flat typed arrays: path lengths, what a sound tree is, and pooling the trees of several gateways.

/**
 * Trees one after another, each with its root first. A node's right child follows its left one. Plain data: structured
 * clones are exact. Thresholds are in the units of the rows that the trees are asked about, standardised as a rule.
 */
export interface IsolationTrees {
  readonly channels: number;
  /** A node: the channel it splits; 0 at a leaf. */
  readonly feature: Uint16Array;
  /** A node: values ≤ threshold go left. A leaf: the path length of a row that ends there. */
  readonly threshold: Float32Array;
  /** A node: how many places on its left child is; 0 at a leaf. */
  readonly leftStep: Uint16Array;
  /** A tree: where its root is; ascending. */
  readonly root: Uint32Array;
  /** A tree: the number of rows it was grown from. */
  readonly subsampleRows: Uint32Array;
}

/** Trees that cannot be what growing gives, or that do not go together. */
export class InvalidTreesError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "InvalidTreesError";
  }
}

export const MIN_SUBSAMPLE_ROWS = 2;
export const MAX_SUBSAMPLE_ROWS = 16_384; // steps between nodes stay within 16 bits
const EULER_GAMMA = 0.577_215_664_901_532_9;

/** c(n): the mean path length of an unsuccessful search in a binary search tree of `n` keys. Liu et al. 2008, equation 1. */
export function meanSearchLength(n: number): number {
  if (n <= 1) return 0;
  if (n === 2) return 1;
  return 2 * (Math.log(n - 1) + EULER_GAMMA) - (2 * (n - 1)) / n;
}

/** Beyond the mean height of a tree only what is no anomaly is left. Liu et al. 2008, section 4.1. */
export const heightLimit = (subsampleRows: number) => Math.ceil(Math.log2(subsampleRows));

/** Mean over the trees of c(their rows), in the float32 that leaves have, so that a leaf root scores 0.5 exactly. */
export function expectedPathLength({ subsampleRows }: IsolationTrees): number {
  return subsampleRows.reduce((sum, rows) => sum + Math.fround(meanSearchLength(rows)), 0) / subsampleRows.length;
}

/** E[h]: the mean over the trees of the path length of `z[from, from + channels)`. */
export function meanPathLength(trees: IsolationTrees, z: Float32Array, from = 0): number {
  const { feature, threshold, leftStep, root } = trees;
  let sum = 0;
  for (let tree = 0; tree < root.length; tree++) {
    let node = root[tree] as number;
    for (let step = leftStep[node] as number; step !== 0; step = leftStep[node] as number) {
      const right = (z[from + (feature[node] as number)] as number) > (threshold[node] as number);
      node += right ? step + 1 : step;
    }
    sum += threshold[node] as number;
  }
  return sum / root.length;
}

/** Tree `index` has the nodes [start, end). */
export function treeRange({ root, feature }: IsolationTrees, index: number): { start: number; end: number } {
  return { start: root[index] as number, end: root[index + 1] ?? feature.length };
}

/** Throws InvalidTreesError unless every walk ends in its own tree at a path length that its rows allow. */
export function checkTrees(trees: IsolationTrees): void {
  const { channels, feature, threshold, leftStep, root, subsampleRows } = trees;
  if (!(Number.isInteger(channels) && channels >= 1)) throw new InvalidTreesError(`${channels} channels`);
  if (root.length === 0 || root[0] !== 0) throw new InvalidTreesError("there is no first tree");
  if (root.length !== subsampleRows.length || threshold.length !== feature.length || leftStep.length !== feature.length)
    throw new InvalidTreesError("the arrays have lengths that do not go together");
  for (let index = 0; index < root.length; index++) checkTree(trees, index);
}

function checkTree(trees: IsolationTrees, index: number): void {
  const fail = (why: string): never => {
    throw new InvalidTreesError(`tree ${index}: ${why}`);
  };
  const rows = trees.subsampleRows[index] as number;
  if (rows < MIN_SUBSAMPLE_ROWS || rows > MAX_SUBSAMPLE_ROWS) fail(`it cannot come from ${rows} rows`);
  const { start, end } = treeRange(trees, index);
  if (!(end > start && end - start < 2 * rows)) fail(`it cannot have ${end - start} nodes of ${rows} rows`);
  const longest = Math.fround(heightLimit(rows) + meanSearchLength(rows));
  const parents = new Uint8Array(end - start);
  for (let node = start; node < end; node++) {
    const [step, threshold] = [trees.leftStep[node] as number, trees.threshold[node] as number];
    if (!Number.isFinite(threshold)) fail("a threshold is not finite");
    if (step === 0) {
      if (threshold < 0 || threshold > longest) fail(`no path has length ${threshold}`);
      continue;
    }
    if ((trees.feature[node] as number) >= trees.channels) fail("it splits a channel that is not there");
    if (node + step + 1 >= end) fail("a child lies outside");
    for (const child of [node + step, node + step + 1]) (parents[child - start] as number)++;
  }
  if (parents.some((count, node) => count !== Math.min(node, 1))) fail("its nodes are no tree");
}

export interface PooledTrees {
  readonly trees: IsolationTrees;
  /** How many of each forest's trees are in the pool, in the order given. */
  readonly taken: readonly number[];
}

/**
 * One set of at most `maxTrees` trees from those of several gateways, in the order given; every tree counts alike, so a
 * gateway weighs as many as it has trees. Where there are more, trees are left out evenly and each gateway keeps its
 * share to within one tree. Trees of a forest are independent draws, so it does not matter which of them go. Thresholds
 * mean the same everywhere only in standardised rows, each gateway's by its own mean and deviation.
 * Throws InvalidTreesError for none, for malformed ones and for other channel counts.
 */
export function poolTrees(forests: readonly IsolationTrees[], maxTrees: number): PooledTrees {
  if (!(Number.isInteger(maxTrees) && maxTrees >= 1)) throw new RangeError(`a pool of at most ${maxTrees} trees`);
  const channels = forests[0]?.channels;
  if (channels === undefined) throw new InvalidTreesError("there are no trees to pool");
  for (const forest of forests) {
    if (forest.channels !== channels)
      throw new InvalidTreesError(`trees of ${channels} and of ${forest.channels} channels do not go together`);
    checkTrees(forest);
  }
  const all = forests.flatMap((forest, from) => splitTrees(forest).map((tree) => ({ tree, from })));
  const count = Math.min(all.length, maxTrees);
  const chosen = Array.from(
    { length: count },
    (_, at) => all[Math.floor(((at + 0.5) * all.length) / count)] as { tree: Tree; from: number },
  );
  return {
    trees: joinTrees(
      channels,
      chosen.map(({ tree }) => tree),
    ),
    taken: forests.map((_, index) => chosen.filter(({ from }) => from === index).length),
  };
}

/** One tree: its nodes and the number of rows that it was grown from. */
export interface Tree {
  readonly feature: Uint16Array;
  readonly threshold: Float32Array;
  readonly leftStep: Uint16Array;
  readonly subsampleRows: number;
}

/** Copies `given`, one after another. */
export function joinTrees(channels: number, given: readonly Tree[]): IsolationTrees {
  const nodes = given.reduce((sum, { feature }) => sum + feature.length, 0);
  const joined = {
    channels,
    feature: new Uint16Array(nodes),
    threshold: new Float32Array(nodes),
    leftStep: new Uint16Array(nodes),
    root: new Uint32Array(given.length),
    subsampleRows: Uint32Array.from(given, ({ subsampleRows }) => subsampleRows),
  };
  let at = 0;
  for (const [index, tree] of given.entries()) {
    joined.root[index] = at;
    joined.feature.set(tree.feature, at);
    joined.threshold.set(tree.threshold, at);
    joined.leftStep.set(tree.leftStep, at);
    at += tree.feature.length;
  }
  return joined;
}

/** The trees of `trees`, looking into its arrays. */
function splitTrees(trees: IsolationTrees): Tree[] {
  return Array.from(trees.subsampleRows, (subsampleRows, index) => {
    const { start, end } = treeRange(trees, index);
    return {
      feature: trees.feature.subarray(start, end),
      threshold: trees.threshold.subarray(start, end),
      leftStep: trees.leftStep.subarray(start, end),
      subsampleRows,
    };
  });
}
