// How well predictions match labels: what was not measurable is null, never a made-up number.
import { seededRandom } from "./random.ts";

export interface Confusion {
  readonly tp: number;
  readonly fp: number;
  readonly tn: number;
  readonly fn: number;
}

export interface Scores extends Confusion {
  readonly n: number;
  readonly precision: number | null;
  readonly recall: number | null;
  readonly f1: number | null;
  readonly prAuc: number | null;
  readonly loss: number | null;
  /** 95 % interval of F1; null where F1 is null or there are too few rows to resample. */
  readonly f1Interval: readonly [low: number, high: number] | null;
}

/** Rows of a bootstrap block: about as long as neighbouring rows stay alike. */
const BLOCK_ROWS = 50;
const RESAMPLES = 500;
/** Fewer blocks than this would pass chance off as certainty. */
const MIN_BLOCKS = 4;

function sameLength(a: { length: number }, b: { length: number }): void {
  if (a.length !== b.length) throw new RangeError(`${a.length} predictions or scores for ${b.length} labels`);
}

/** Counts over n rows; any value but 0 is positive. Throws RangeError when the lengths differ. */
export function confusion(predictions: Uint8Array, labels: Uint8Array): Confusion {
  sameLength(predictions, labels);
  const counts = [0, 0, 0, 0] as [tn: number, fn: number, fp: number, tp: number];
  for (let i = 0; i < labels.length; i++) counts[predictions[i] ? (labels[i] ? 3 : 2) : labels[i] ? 1 : 0]++;
  const [tn, fn, fp, tp] = counts;
  return { tp, fp, tn, fn };
}

const ratio = (part: number, whole: number): number | null => (whole > 0 ? part / whole : null);

/** In [0, 1]; null when nothing was predicted positive. */
export const precision = ({ tp, fp }: Confusion): number | null => ratio(tp, tp + fp);

/** In [0, 1]; null when no row is positive. */
export const recall = ({ tp, fn }: Confusion): number | null => ratio(tp, tp + fn);

/** 2tp / (2tp + fp + fn), in [0, 1]; null when nothing is and nothing was predicted positive. */
export const f1 = ({ tp, fp, fn }: Confusion): number | null => ratio(2 * tp, 2 * tp + fp + fn);

/**
 * Area under the precision-recall curve as average precision, in (0, 1], without interpolation; rows of equal score form
 * one step. Null when a class is missing. Throws RangeError when the lengths differ or a score is NaN. Davis & Goadrich 2006.
 */
export function prAuc(scores: Float64Array | Float32Array, labels: Uint8Array): number | null {
  sameLength(scores, labels);
  if (scores.some(Number.isNaN)) throw new RangeError("a score is NaN");
  const positives = labels.reduce((sum, label) => sum + (label ? 1 : 0), 0);
  if (positives === 0 || positives === labels.length) return null;
  const order = Uint32Array.from(scores, (_, i) => i).sort((a, b) => Number(scores[b]) - Number(scores[a]));
  let area = 0;
  let tp = 0;
  let newTp = 0;
  for (let rank = 0; rank < order.length; rank++) {
    const row = Number(order[rank]);
    if (labels[row]) newTp++;
    if (scores[row] === scores[Number(order[rank + 1])]) continue;
    tp += newTp;
    area += (newTp / positives) * (tp / (rank + 1));
    newTp = 0;
  }
  return Math.min(1, area); // n shares of 1/n may add up to a rounding more
}

/** Running sums over rows, so that the counts of any block cost one subtraction. */
function prefixSums(n: number, isCounted: (row: number) => boolean): Uint32Array {
  const sums = new Uint32Array(n + 1);
  for (let row = 0; row < n; row++) sums[row + 1] = Number(sums[row]) + (isCounted(row) ? 1 : 0);
  return sums;
}

/**
 * 95 % percentile interval of F1 by the moving-block bootstrap, which keeps the dependence between neighbouring rows.
 * Resamples without any positive are left out. Künsch 1989.
 */
function f1Interval(predictions: Uint8Array, labels: Uint8Array, seed: number): [number, number] | null {
  const n = labels.length;
  if (n < MIN_BLOCKS * BLOCK_ROWS) return null;
  const tpSums = prefixSums(n, (row) => Boolean(predictions[row] && labels[row]));
  const markedSums = prefixSums(n, (row) => Boolean(predictions[row]));
  const labelSums = prefixSums(n, (row) => Boolean(labels[row]));
  const random = seededRandom(seed);
  const resampled: number[] = [];
  for (let resample = 0; resample < RESAMPLES; resample++) {
    let tp = 0;
    let marked = 0;
    for (let taken = 0; taken < n; taken += BLOCK_ROWS) {
      const rows = Math.min(BLOCK_ROWS, n - taken);
      const from = Math.floor(random.next() * (n - rows + 1));
      const inBlock = (sums: Uint32Array) => Number(sums[from + rows]) - Number(sums[from]);
      tp += inBlock(tpSums);
      marked += inBlock(markedSums) + inBlock(labelSums);
    }
    if (marked > 0) resampled.push((2 * tp) / marked);
  }
  resampled.sort((a, b) => a - b);
  const at = (q: number) => Number(resampled[Math.round(q * (resampled.length - 1))]);
  return resampled.length > 0 ? [at(0.025), at(0.975)] : null;
}

/** Everything about n scored rows in time order; `loss` is passed through, `seed` draws the interval's resamples. */
export function summarise(input: {
  readonly predictions: Uint8Array;
  readonly scores: Float64Array | Float32Array;
  readonly labels: Uint8Array;
  readonly loss: number | null;
  readonly seed?: number;
}): Scores {
  const { predictions, scores, labels, loss, seed = 1 } = input;
  const counts = confusion(predictions, labels);
  const score = f1(counts);
  return {
    n: labels.length,
    ...counts,
    precision: precision(counts),
    recall: recall(counts),
    f1: score,
    prAuc: prAuc(scores, labels),
    loss,
    f1Interval: score === null ? null : f1Interval(predictions, labels, seed),
  };
}
