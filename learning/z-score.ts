// The cold-start detector and trivial baseline: each channel against the median of its own last rows.
import { takeReadings } from "./readings.ts";
import { type RingSnapshot, RowRing } from "./row-ring.ts";

export const Z_THRESHOLD = 5;

/** Median absolute deviation and mean absolute deviation to σ, of a normal distribution. Iglewicz & Hoaglin 1993. */
const MAD_TO_SIGMA = 1.4826;
const MEAN_DEVIATION_TO_SIGMA = 1.2533;

export type ZScoreSnapshot = RingSnapshot<Float64Array>;

interface Centre {
  readonly median: number;
  readonly sigma: number;
}

/** Rows are scored before they enter their own statistics. */
export class RobustZScore {
  readonly #ring: RowRing<Float64Array>;
  /** Each channel's rows in ascending order. */
  readonly #sorted: Float64Array[];
  readonly #row: Float64Array;
  readonly #warmUpRows: number;

  constructor(channels: number, rows = 100, warmUpRows = 30) {
    this.#ring = new RowRing(new Float64Array(rows * channels), channels);
    this.#sorted = Array.from({ length: channels }, () => new Float64Array(rows));
    this.#row = new Float64Array(channels);
    this.#warmUpRows = warmUpRows;
  }

  /** Throws RangeError when the snapshot is of other channels or another length. */
  static restore(snapshot: ZScoreSnapshot, channels: number, rows = 100, warmUpRows = 30): RobustZScore {
    const restored = new RobustZScore(channels, rows, warmUpRows);
    restored.#ring.adopt(snapshot);
    const { values, count } = restored.#ring;
    restored.#sorted.forEach((sorted, c) => {
      for (let row = 0; row < count; row++) sorted[row] = Number(values[row * channels + c]);
      sorted.subarray(0, count).sort();
    });
    return restored;
  }

  /**
   * Signed robust z of each channel and the largest |z| as the score, then the row (length = channels, finite) enters;
   * null during warm-up. Throws RangeError, changing nothing, for another length or a value that is not finite.
   */
  score(row: Float64Array): { score: number; z: Float64Array } | null {
    takeReadings(this.#row, row, false);
    const scored = this.#ring.count < this.#warmUpRows ? null : this.#scored(this.#row);
    this.#enter(this.#row);
    return scored;
  }

  /** The score of each row held, at most `rows`, against the statistics that it is part of; in no particular order. */
  ownScores(): number[] {
    const { values, count } = this.#ring;
    const channels = this.#row.length;
    const centres = this.#sorted.map((_, channel) => this.#centre(channel));
    return Array.from({ length: count }, (_, row) =>
      centres.reduce((largest, { median, sigma }, channel) => {
        return Math.max(largest, Math.abs(Number(values[row * channels + channel]) - median) / sigma);
      }, 0),
    );
  }

  /** Median ± 3 robust σ of a channel, in its unit; null before the first row. */
  expected(channel: number): [low: number, high: number] | null {
    if (this.#ring.count === 0) return null;
    const { median, sigma } = this.#centre(channel);
    return [median - 3 * sigma, median + 3 * sigma];
  }

  snapshot(): ZScoreSnapshot {
    return this.#ring.snapshot();
  }

  #scored(row: Float64Array): { score: number; z: Float64Array } {
    const z = new Float64Array(row.length);
    let score = 0;
    for (let c = 0; c < row.length; c++) {
      const { median, sigma } = this.#centre(c);
      z[c] = (Number(row[c]) - median) / sigma;
      score = Math.max(score, Math.abs(Number(z[c])));
    }
    return { score, z };
  }

  #centre(channel: number): Centre {
    const sorted = this.#sorted[channel];
    if (sorted === undefined) throw new RangeError(`there is no channel ${channel}`);
    return centre(sorted, this.#ring.count);
  }

  #enter(row: Float64Array): void {
    const { values, count, capacity, nextOffset } = this.#ring;
    this.#sorted.forEach((sorted, c) => {
      const full = count === capacity;
      const from = full ? lowerBound(sorted, count, Number(values[nextOffset + c])) : count;
      exchange(sorted, from, full ? count : count + 1, Number(row[c]));
    });
    this.#ring.enter(row);
  }
}

/** First index of the ascending `sorted[0, count)` that is not below `value`. */
function lowerBound(sorted: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Number(sorted[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Replaces `sorted[at]` by `value` and moves it to its place among `sorted[0, end)`. */
function exchange(sorted: Float64Array, at: number, end: number, value: number): void {
  let place = at;
  for (; place > 0 && Number(sorted[place - 1]) > value; place--) sorted[place] = Number(sorted[place - 1]);
  for (; place < end - 1 && Number(sorted[place + 1]) < value; place++) sorted[place] = Number(sorted[place + 1]);
  sorted[place] = value;
}

/** Median of the ascending `sorted[0, count)`, count > 0. */
function middle(sorted: Float64Array, count: number): number {
  const upper = Number(sorted[count >> 1]);
  return count % 2 === 1 ? upper : (Number(sorted[(count >> 1) - 1]) + upper) / 2;
}

/** Median of |value − median|: walking outwards from the median meets the deviations in ascending order. */
function medianDeviation(sorted: Float64Array, count: number, median: number): number {
  const upper = count >> 1;
  let below = upper - 1;
  let above = upper;
  let last = 0;
  let lastButOne = 0;
  while (above - below <= upper + 1) {
    const down = below >= 0 ? median - Number(sorted[below]) : Number.POSITIVE_INFINITY;
    const up = above < count ? Number(sorted[above]) - median : Number.POSITIVE_INFINITY;
    lastButOne = last;
    last = Math.min(down, up);
    if (down < up) below--;
    else above++;
  }
  return count % 2 === 1 ? last : (lastButOne + last) / 2;
}

/** Median, and σ from the median absolute deviation; where most values are equal, from the mean absolute deviation. */
function centre(sorted: Float64Array, count: number): Centre {
  const median = middle(sorted, count);
  const floor = Math.max(1e-6 * Math.abs(median), 1e-12);
  const sigma = MAD_TO_SIGMA * medianDeviation(sorted, count, median);
  if (sigma > floor) return { median, sigma };
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.abs(Number(sorted[i]) - median);
  return { median, sigma: Math.max((MEAN_DEVIATION_TO_SIGMA * sum) / count, floor) };
}
