// The isolation forest of one device: its own scale, isolation trees, an offset and calibrated percentiles.
import { growTrees } from "./grow-trees.ts";
import {
  checkTrees,
  expectedPathLength,
  InvalidTreesError,
  type IsolationTrees,
  meanPathLength,
} from "./isolation-trees.ts";
import { seededRandom } from "./random.ts";
import { percentile, quantile } from "./threshold.ts";

export interface ForestSettings {
  readonly trees: number;
  readonly subsampleRows: number;
  /** "auto": the offset rule, scores over 0.5; a number in (0, 0.5]: this share of the training rows. */
  readonly contamination: "auto" | number;
  readonly seed: number;
}

export const DEFAULT_FOREST: ForestSettings = { trees: 100, subsampleRows: 256, contamination: "auto", seed: 42 };
export const MIN_FOREST_ROWS = 10;
const AUTO_OFFSET = -0.5; // scikit-learn's: normal rows score about 0.5 and less. Liu et al. 2008, section 2.
const MAX_CALIBRATION_SCORES = 1000;
const SCORE_PRECISION = 1e-6; // to which a score in float32 agrees

export class TooFewRowsError extends Error {
  readonly rows: number;
  constructor(rows: number) {
    super(`an isolation forest needs ${MIN_FOREST_ROWS} rows with values; there are ${rows}`);
    this.name = "TooFewRowsError";
    this.rows = rows;
  }
}

/** Plain data: structured clones are exact. */
export interface ForestSnapshot {
  readonly trees: IsolationTrees;
  /** Of the training rows, in the channels' units; length `trees.channels` each. */
  readonly mean: Float64Array;
  readonly sigma: Float64Array;
  readonly offset: number;
  /** Scores of the training rows or evenly chosen order statistics of them, ascending. */
  readonly calibration: Float64Array;
}

/**
 * Never changes once made. Rows are Float64Arrays in channel order, channels in their own units, row-major where there
 * are several. A value that is not finite is missing, and stands at its channel's mean; rows without any value are not
 * trained on, and score as the mean does. A channel that never varied in training has no part in the score; where none
 * varied, every row scores 0.5 and nothing is an anomaly.
 */
export class IsolationForest {
  readonly channels: number;
  readonly trees: IsolationTrees;
  readonly #snapshot: ForestSnapshot;
  readonly #expectedPathLength: number;

  private constructor(snapshot: ForestSnapshot) {
    this.#snapshot = snapshot;
    this.trees = snapshot.trees;
    this.channels = snapshot.trees.channels;
    this.#expectedPathLength = expectedPathLength(snapshot.trees);
  }

  /**
   * Throws TooFewRowsError for fewer than 10 rows with values, RangeError for lengths or settings that do not fit.
   * Liu, Ting and Zhou 2008.
   */
  static train(x: Float64Array, channels: number, settings: Partial<ForestSettings> = {}): IsolationForest {
    const { seed, contamination, ...growth } = { ...DEFAULT_FOREST, ...settings };
    const rows = rowsWithValues(x, channels);
    const scale = fitScale(rows, channels);
    const trees = growTrees(standardise(rows, scale), channels, growth, seededRandom(seed));
    const fitted = { trees, ...scale };
    if (contamination !== "auto" && !(contamination > 0 && contamination <= 0.5))
      throw new RangeError(`contamination ${contamination} is neither "auto" nor above 0 and at most 0.5`);
    const uncalibrated = { ...fitted, offset: AUTO_OFFSET, calibration: new Float64Array(0) };
    const scores = new IsolationForest(uncalibrated).scoreRows(rows).sort();
    const offset = contamination === "auto" ? AUTO_OFFSET : -quantile(scores, 1 - contamination);
    return new IsolationForest({ ...fitted, offset, calibration: orderStatistics(scores, MAX_CALIBRATION_SCORES) });
  }

  /** In (0, 1), the higher the stranger: 2^(−E[h] / c). Liu et al. 2008, equation 2. */
  score(row: Float64Array): number {
    return this.#scoreAt(this.standardise(row), 0);
  }

  /** One score a row. */
  scoreRows(x: Float64Array): Float64Array {
    const z = this.standardise(x);
    return Float64Array.from({ length: z.length / this.channels }, (_, row) => this.#scoreAt(z, row * this.channels));
  }

  /** As scikit-learn's decision_function: negative means anomaly. A tie within float32's precision is 0, and none. */
  decision(score: number): number {
    const decision = -score - this.#snapshot.offset;
    return Math.abs(decision) < SCORE_PRECISION ? 0 : decision;
  }

  /** The share of training rows that score no higher, in [0, 1). */
  confidence(score: number): number {
    return percentile(this.#snapshot.calibration, score);
  }

  /** Rows as the trees see them: in deviations from the channels' means. Throws RangeError for a broken row. */
  standardise(x: Float64Array): Float32Array {
    checkRows(x, this.channels);
    return standardise(x, this.#snapshot);
  }

  /** Mean ± 3 standard deviations of a channel's training rows, in its unit. Throws RangeError where there is none. */
  expected(channel: number): [low: number, high: number] {
    const [mean, sigma] = [this.#snapshot.mean[channel], this.#snapshot.sigma[channel]];
    if (mean === undefined || sigma === undefined) throw new RangeError(`there is no channel ${channel}`);
    return [mean - 3 * sigma, mean + 3 * sigma];
  }

  snapshot(): ForestSnapshot {
    return structuredClone(this.#snapshot);
  }

  /** Throws InvalidTreesError when the snapshot cannot be one of this version. */
  static restore(snapshot: ForestSnapshot): IsolationForest {
    checkTrees(snapshot.trees);
    const { mean, sigma, trees, offset } = snapshot;
    if (mean.length !== trees.channels || sigma.length !== trees.channels || !Number.isFinite(offset))
      throw new InvalidTreesError(
        `a scale of ${mean.length} channels and offset ${offset} over ${trees.channels} channels`,
      );
    return new IsolationForest(structuredClone(snapshot));
  }

  #scoreAt(z: Float32Array, from: number): number {
    return 2 ** (-meanPathLength(this.trees, z, from) / this.#expectedPathLength);
  }
}

type Scale = Pick<ForestSnapshot, "mean" | "sigma">;

function checkRows(x: Float64Array, channels: number): void {
  if (!(Number.isInteger(channels) && channels >= 1)) throw new RangeError(`${channels} channels`);
  if (x.length % channels !== 0) throw new RangeError(`${x.length} values are not rows of ${channels} channels`);
}

/** The rows of `x` that have any finite value. */
function rowsWithValues(x: Float64Array, channels: number): Float64Array {
  checkRows(x, channels);
  const kept = new Float64Array(x.length);
  let length = 0;
  for (let from = 0; from < x.length; from += channels) {
    const row = x.subarray(from, from + channels);
    if (!row.some(Number.isFinite)) continue;
    kept.set(row, length);
    length += channels;
  }
  if (length < MIN_FOREST_ROWS * channels) throw new TooFewRowsError(length / channels);
  return kept.subarray(0, length);
}

/** Mean and population deviation of each channel's finite values; 0 and the floor where a channel has none. */
function fitScale(x: Float64Array, channels: number): Scale {
  const mean = new Float64Array(channels);
  const sigma = new Float64Array(channels);
  for (let channel = 0; channel < channels; channel++) {
    let [count, average, squares] = [0, 0, 0];
    for (let at = channel; at < x.length; at += channels) {
      const value = x[at] as number;
      if (!Number.isFinite(value)) continue;
      const delta = value - average;
      average += delta / ++count; // Welford 1962
      squares += delta * (value - average);
    }
    mean[channel] = average;
    sigma[channel] = Math.max(Math.sqrt(squares / Math.max(count, 1)), 1e-6 * Math.abs(average), 1e-12);
  }
  return { mean, sigma };
}

function standardise(x: Float64Array, { mean, sigma }: Scale): Float32Array {
  const z = new Float32Array(x.length);
  const channels = mean.length;
  for (let from = 0; from < x.length; from += channels) {
    for (let channel = 0; channel < channels; channel++) {
      const value = x[from + channel] as number;
      const scaled = (value - (mean[channel] as number)) / (sigma[channel] as number);
      z[from + channel] = Number.isFinite(value) && !Number.isNaN(scaled) ? scaled : 0;
    }
  }
  return z;
}

/** At most `most` of `sorted`, evenly from the lowest to the highest. */
function orderStatistics(sorted: Float64Array, most: number): Float64Array {
  if (sorted.length <= most) return sorted;
  return Float64Array.from(
    { length: most },
    (_, at) => sorted[Math.round((at * (sorted.length - 1)) / (most - 1))] as number,
  );
}
