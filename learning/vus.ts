// VUS-PR: how well scores rank rows, forgiving rows near an event's edges, averaged over how near is near enough.
import { runsOf } from "./events.ts";

export interface ScoredRun {
  readonly scores: Float32Array | Float64Array;
  /** Any value but 0 is part of an event. */
  readonly labels: Uint8Array;
}

export interface VusSettings {
  /** L: the longest buffer, both sides of an event together, in rows; about a usual event's length. */
  readonly maxBufferRows: number;
  /** Buffer lengths tried: round(i·L / intervals) for i = 0 … intervals, each once; L gives every length. */
  readonly intervals?: number;
}

/** Labels and both slopes of ⌊bufferRows / 2⌋ rows beside each event: √(1 − d / bufferRows) at distance d, at most 1. */
function softLabels(labels: Uint8Array, bufferRows: number): Float64Array {
  const soft = Float64Array.from(labels, (label) => (label ? 1 : 0));
  const rise = (row: number, distance: number) => {
    if (row >= 0 && row < soft.length) {
      soft[row] = Math.min(1, Number(soft[row]) + Math.sqrt(1 - distance / bufferRows));
    }
  };
  for (const { begin, end } of runsOf(labels)) {
    for (let d = 1; d <= bufferRows >> 1; d++) {
      rise(begin - d, d);
      rise(end - 1 + d, d);
    }
  }
  return soft;
}

const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);

/** All runs' rows end to end, and the same rows from the highest score to the lowest. */
interface Ranked {
  readonly scores: Float64Array;
  readonly order: Uint32Array;
  readonly positives: number;
}

function ranked(runs: readonly ScoredRun[]): Ranked {
  const rows = runs.reduce((total, { labels }) => total + labels.length, 0);
  const scores = new Float64Array(rows);
  let at = 0;
  let positives = 0;
  for (const run of runs) {
    if (run.scores.length !== run.labels.length) {
      throw new RangeError(`${run.scores.length} scores for ${run.labels.length} labels`);
    }
    scores.set(run.scores, at);
    at += run.labels.length;
    for (const label of run.labels) if (label) positives++;
  }
  if (scores.some(Number.isNaN)) throw new RangeError("a score is NaN");
  const order = Uint32Array.from(scores, (_, row) => row).sort((a, b) => Number(scores[b]) - Number(scores[a]));
  return { scores, order, positives };
}

/** The soft labels of all rows, and each extended event's highest score, highest first. */
function extended(runs: readonly ScoredRun[], bufferRows: number): { soft: Float64Array; peaks: Float64Array } {
  const parts = runs.map(({ labels }) => softLabels(labels, bufferRows));
  const soft = new Float64Array(parts.reduce((total, part) => total + part.length, 0));
  const peaks: number[] = [];
  let at = 0;
  parts.forEach((part, i) => {
    soft.set(part, at);
    at += part.length;
    const { scores } = runs[i] as ScoredRun;
    for (const { begin, end } of runsOf(part)) {
      let peak = Number.NEGATIVE_INFINITY;
      for (let row = begin; row < end; row++) peak = Math.max(peak, Number(scores[row]));
      peaks.push(peak);
    }
  });
  return { soft, peaks: Float64Array.from(peaks).sort().reverse() };
}

/** Area under the range-aware curve of one buffer length. */
function rangePrAuc({ scores, order, positives }: Ranked, soft: Float64Array, peaks: Float64Array): number {
  const mass = (positives + sum(soft)) / 2;
  let area = 0;
  let tp = 0;
  let found = 0;
  let recallBefore = 0;
  for (let rank = 0; rank < order.length && recallBefore < 1; rank++) {
    const row = Number(order[rank]);
    tp += Number(soft[row]);
    const threshold = Number(scores[row]);
    if (threshold === scores[Number(order[rank + 1])]) continue;
    while (found < peaks.length && Number(peaks[found]) >= threshold) found++;
    const recall = Math.min(tp / mass, 1) * (found / peaks.length);
    area += (recall - recallBefore) * (tp / (rank + 1));
    recallBefore = recall;
  }
  return area;
}

/**
 * Volume under the precision-recall surface, in [0, 1]; Paparrizos et al. 2022. For each buffer length ℓ in 0 … L the
 * labels become weights y: 1 on events, falling slopes over ⌊ℓ/2⌋ rows on either side (never into another run). With the
 * rows scoring ≥ t marked, TP = Σ y over marked rows, precision = TP / marked, recall = min(1, TP / P) × the share of
 * extended events (runs of y > 0) with a marked row, P = (Σ labels + Σ y) / 2. The volume is the mean over ℓ of
 * Σ (recall gained) × precision.
 *
 * Two choices of ours: every distinct score is a threshold (the authors sample 250), and steps instead of their
 * trapezoids, so that tied scores gain nothing from interpolation; with one event and ℓ = 0 it is `prAuc` exactly. Scores
 * that equal the labels stay below 1 where ℓ > 1, as with the authors: they rank the slopes with the rest.
 *
 * Null when no row or every row is labelled. Throws RangeError for other lengths, a NaN score, or settings that are not
 * whole (maxBufferRows ≥ 0, intervals ≥ 1). Time O(n log n + n × buffer lengths).
 */
export function vusPr(runs: readonly ScoredRun[], { maxBufferRows, intervals = 10 }: VusSettings): number | null {
  if (!(Number.isInteger(maxBufferRows) && maxBufferRows >= 0 && Number.isInteger(intervals) && intervals >= 1)) {
    throw new RangeError(`a longest buffer of ${maxBufferRows} rows in ${intervals} intervals`);
  }
  const rows = ranked(runs);
  if (rows.positives === 0 || rows.positives === rows.scores.length) return null;
  const steps = Array.from({ length: intervals + 1 }, (_, i) => Math.round((i * maxBufferRows) / intervals));
  const lengths = [...new Set(steps)];
  const areas = lengths.map((length) => {
    const { soft, peaks } = extended(runs, length);
    return rangePrAuc(rows, soft, peaks);
  });
  return areas.reduce((total, area) => total + area, 0) / areas.length;
}
