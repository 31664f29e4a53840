// Growing isolation trees: random splits of a small random subsample until rows stand alone.
import {
  heightLimit,
  type IsolationTrees,
  joinTrees,
  MAX_SUBSAMPLE_ROWS,
  MIN_SUBSAMPLE_ROWS,
  meanSearchLength,
  type Tree,
} from "./isolation-trees.ts";
import type { Random } from "./random.ts";

export interface GrowSettings {
  readonly trees: number;
  /** Rows a tree is grown from, or all where there are fewer. */
  readonly subsampleRows: number;
}

/** A tree under growth; node arrays as in IsolationTrees, and the part of the sample that each node holds. */
interface Growth {
  readonly feature: Uint16Array;
  readonly threshold: Float32Array;
  readonly leftStep: Uint16Array;
  readonly from: Uint32Array;
  readonly to: Uint32Array;
  readonly depth: Uint8Array;
}

/**
 * Trees over `z`: at least 2 finite rows of `channels` values, row-major. A channel that is constant within a node is not
 * split there; where all are, the node is a leaf. Throws RangeError for shapes or settings that do not fit.
 * Liu, Ting and Zhou 2008, algorithms 1 and 2.
 */
export function growTrees(z: Float32Array, channels: number, settings: GrowSettings, random: Random): IsolationTrees {
  checkSettings(z, channels, settings);
  const rows = z.length / channels;
  const sampleRows = Math.min(rows, settings.subsampleRows);
  const grower = new TreeGrower(z, channels, sampleRows, random);
  const order = Uint32Array.from({ length: rows }, (_, row) => row);
  const grown = Array.from({ length: settings.trees }, () => {
    drawToFront(order, sampleRows, random);
    return grower.grow(order.slice(0, sampleRows));
  });
  return joinTrees(channels, grown);
}

function checkSettings(z: Float32Array, channels: number, { trees, subsampleRows }: GrowSettings): void {
  const between = (value: number, low: number, high: number) =>
    Number.isInteger(value) && value >= low && value <= high;
  if (!between(channels, 1, 65_535)) throw new RangeError(`${channels} channels`);
  if (!between(z.length / channels, MIN_SUBSAMPLE_ROWS, Number.MAX_SAFE_INTEGER))
    throw new RangeError(`${z.length} values are not two or more rows of ${channels} channels`);
  if (!between(trees, 1, 10_000)) throw new RangeError(`${trees} trees; 1 to 10000 are possible`);
  if (!between(subsampleRows, MIN_SUBSAMPLE_ROWS, MAX_SUBSAMPLE_ROWS))
    throw new RangeError(
      `subsamples of ${subsampleRows} rows; ${MIN_SUBSAMPLE_ROWS} to ${MAX_SUBSAMPLE_ROWS} are possible`,
    );
}

/** A uniform draw of `count` without replacement, at the front of `order` (Fisher and Yates, cut short). */
function drawToFront(order: Uint32Array | Uint16Array, count: number, random: Random): void {
  for (let at = 0; at < count; at++) swap(order, at, at + Math.floor(random.next() * (order.length - at)));
}

function swap(values: Uint32Array | Uint16Array, a: number, b: number): void {
  const kept = values[a] as number;
  values[a] = values[b] as number;
  values[b] = kept;
}

/** Grows breadth first, so that a node's children come after it and next to each other; its buffers serve every tree. */
class TreeGrower {
  readonly #z: Float32Array;
  readonly #channels: number;
  readonly #random: Random;
  readonly #growth: Growth;
  readonly #heightLimit: number;
  readonly #candidates: Uint16Array;
  #sample = new Uint32Array(0);
  #nodes = 0;
  #low = 0;
  #high = 0;

  constructor(z: Float32Array, channels: number, sampleRows: number, random: Random) {
    const capacity = 2 * sampleRows - 1;
    this.#z = z;
    this.#channels = channels;
    this.#random = random;
    this.#heightLimit = heightLimit(sampleRows);
    this.#candidates = Uint16Array.from({ length: channels }, (_, channel) => channel);
    this.#growth = {
      feature: new Uint16Array(capacity),
      threshold: new Float32Array(capacity),
      leftStep: new Uint16Array(capacity),
      from: new Uint32Array(capacity),
      to: new Uint32Array(capacity),
      depth: new Uint8Array(capacity),
    };
  }

  /** `sample` (row numbers) is reordered. */
  grow(sample: Uint32Array<ArrayBuffer>): Tree {
    this.#sample = sample;
    this.#nodes = 0;
    this.#add(0, sample.length, 0);
    for (let node = 0; node < this.#nodes; node++) this.#finish(node);
    const { feature, threshold, leftStep } = this.#growth;
    return {
      feature: feature.slice(0, this.#nodes),
      threshold: threshold.slice(0, this.#nodes),
      leftStep: leftStep.slice(0, this.#nodes),
      subsampleRows: sample.length,
    };
  }

  #add(from: number, to: number, depth: number): void {
    const at = this.#nodes++;
    this.#growth.from[at] = from;
    this.#growth.to[at] = to;
    this.#growth.depth[at] = depth;
  }

  #finish(node: number): void {
    const growth = this.#growth;
    const [from, to, depth] = [growth.from[node] as number, growth.to[node] as number, growth.depth[node] as number];
    const channel = to - from > 1 && depth < this.#heightLimit ? this.#varyingChannel(from, to) : null;
    growth.feature[node] = channel ?? 0;
    if (channel === null) {
      growth.leftStep[node] = 0;
      growth.threshold[node] = depth + meanSearchLength(to - from);
      return;
    }
    const threshold = this.#thresholdWithin();
    const middle = this.#partition(from, to, channel, threshold);
    growth.threshold[node] = threshold;
    growth.leftStep[node] = this.#nodes - node;
    this.#add(from, middle, depth + 1);
    this.#add(middle, to, depth + 1);
  }

  /** A channel at random among those that vary in sample[from, to), its range in #low and #high; null if none does. */
  #varyingChannel(from: number, to: number): number | null {
    const candidates = this.#candidates;
    for (let tried = 0; tried < candidates.length; tried++) {
      swap(candidates, tried, tried + Math.floor(this.#random.next() * (candidates.length - tried)));
      const channel = candidates[tried] as number;
      if (this.#findRange(from, to, channel)) return channel;
    }
    return null;
  }

  #findRange(from: number, to: number, channel: number): boolean {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let at = from; at < to; at++) {
      const value = this.#z[(this.#sample[at] as number) * this.#channels + channel] as number;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    this.#low = low;
    this.#high = high;
    return low < high;
  }

  /** Uniform in [low, high); float32 may round up to high, where the right side would be empty. */
  #thresholdWithin(): number {
    const threshold = Math.fround(this.#low + this.#random.next() * (this.#high - this.#low));
    return threshold < this.#high ? threshold : this.#low;
  }

  /** Moves the rows of sample[from, to) with values ≤ threshold to the front; the place of the first other row. */
  #partition(from: number, to: number, channel: number, threshold: number): number {
    let middle = from;
    for (let at = from; at < to; at++) {
      const value = this.#z[(this.#sample[at] as number) * this.#channels + channel] as number;
      if (value <= threshold) swap(this.#sample, at, middle++);
    }
    return middle;
  }
}
