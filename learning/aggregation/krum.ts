// Krum and Multi-Krum: combine only the deltas that lie closest to their neighbours.
import { coordinateMedian, countOf } from "./coordinate-rules.ts";
import { EmptyRoundError } from "./fedavg.ts";

export interface KrumChoice {
  readonly delta: Float32Array;
  /** Indices of the deltas that were not taken, ascending. */
  readonly excluded: readonly number[];
}

/**
 * Krum (`keep` "one": the delta with the lowest score) or Multi-Krum (`keep` "most": the mean of the n − f lowest) of
 * `deltas` (n of them, each length P, finite), f = floor(faultyShare × n). A delta's score is the sum of its squared
 * distances to its n − f − 2 nearest others. The source's guarantee needs n ≥ 2f + 3; with fewer the coordinate median is
 * given instead, which bears any minority, and nothing is excluded. Equal scores: the smaller norm wins, then the first
 * smaller coordinate, so that the order given does not matter. `voices` (n, above 0, alike by default) have no part in
 * the choice, so the guarantee stands: the mean weighs by them, and the one is shortened by its voice over the strongest.
 * Throws EmptyRoundError for none, RangeError for a share outside [0, 0.5). Blanchard et al. 2017.
 */
export function krum(
  deltas: readonly Float32Array[],
  faultyShare: number,
  keep: "one" | "most",
  voices: readonly number[] = deltas.map(() => 1),
): KrumChoice {
  if (!(faultyShare >= 0 && faultyShare < 0.5)) {
    throw new RangeError(`a share of ${faultyShare} cannot be faulty: it must be in [0, 0.5)`);
  }
  const faulty = countOf(faultyShare, deltas.length);
  if (deltas.length < 2 * faulty + 3) return { delta: coordinateMedian(deltas, voices), excluded: [] };
  const best = ranked(deltas, deltas.length - faulty - 2).slice(0, keep === "one" ? 1 : deltas.length - faulty);
  return {
    delta: keep === "one" ? shortened(best, voices) : mean(best, voices),
    excluded: [...deltas.keys()].filter((index) => !best.some((kept) => kept.index === index)),
  };
}

interface Candidate {
  readonly index: number;
  readonly delta: Float32Array;
  readonly score: number;
  readonly squaredNorm: number;
}

/** `deltas`, the one closest to its `neighbours` nearest others first. */
function ranked(deltas: readonly Float32Array[], neighbours: number): Candidate[] {
  const distances = deltas.map(() => new Float64Array(deltas.length));
  for (const [i, a] of deltas.entries()) {
    for (let j = 0; j < i; j++) {
      const distance = squaredDistance(a, deltas[j] as Float32Array);
      (distances[i] as Float64Array)[j] = distance;
      (distances[j] as Float64Array)[i] = distance;
    }
  }
  const candidates = deltas.map((delta, index) => ({
    index,
    delta,
    score: sumOfSmallest(others(distances[index] as Float64Array, index), neighbours),
    squaredNorm: squaredDistance(delta, new Float32Array(delta.length)),
  }));
  return candidates.sort(
    (a, b) => a.score - b.score || a.squaredNorm - b.squaredNorm || firstDifference(a.delta, b.delta),
  );
}

const others = (values: Float64Array, own: number) => values.filter((_, index) => index !== own);

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (Number(a[i]) - Number(b[i])) ** 2;
  return sum;
}

/** Summed in ascending order, so that equal distances give an equal sum in whatever order they come. */
function sumOfSmallest(values: Float64Array, count: number): number {
  return values
    .sort()
    .subarray(0, count)
    .reduce((sum, value) => sum + value, 0);
}

function firstDifference(a: Float32Array, b: Float32Array): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : Number(a[at]) - Number(b[at]);
}

function shortened([one]: readonly Candidate[], voices: readonly number[]): Float32Array {
  if (one === undefined) throw new EmptyRoundError();
  const heard = Number(voices[one.index]) / Math.max(...voices);
  return one.delta.map((value) => value * heard);
}

function mean(kept: readonly Candidate[], voices: readonly number[]): Float32Array {
  const sums = new Float64Array(kept[0]?.delta.length ?? 0);
  let heard = 0;
  for (const { delta, index } of kept) {
    const voice = Number(voices[index]);
    heard += voice;
    for (let i = 0; i < sums.length; i++) sums[i] = Number(sums[i]) + voice * Number(delta[i]);
  }
  return Float32Array.from(sums, (sum) => sum / heard);
}
