// Combining rules that treat each coordinate by itself: median and trimmed mean.
import { EmptyRoundError } from "./fedavg.ts";

/** floor(share × n), for a share a person wrote in decimals: 0.29 of 100 is 29, though 0.29 × 100 < 29 in binary. */
export function countOf(share: number, n: number): number {
  return Math.floor(share * n + 1e-9);
}

/** The median of `sorted` (ascending, not empty); of an even number, the mean of the middle two. */
export function medianOfSorted(sorted: Float64Array): number {
  const upper = Math.floor(sorted.length / 2);
  const lower = Math.floor((sorted.length - 1) / 2);
  return (Number(sorted[lower]) + Number(sorted[upper])) / 2;
}

/** For each coordinate, `combine` of its values in `deltas`, ascending (float64; one buffer, reused). */
function byCoordinate(deltas: readonly Float32Array[], combine: (sorted: Float64Array) => number): Float32Array {
  const [first] = deltas;
  if (first === undefined) throw new EmptyRoundError();
  const column = new Float64Array(deltas.length);
  return first.map((_, i) => {
    deltas.forEach((delta, n) => {
      column[n] = Number(delta[i]);
    });
    return combine(column.sort());
  });
}

/**
 * Coordinate-wise median of `deltas` (each length P, finite), unweighted: any minority of them can be anything.
 * Throws EmptyRoundError for none. Yin et al. 2018, Definition 1.
 */
export function coordinateMedian(deltas: readonly Float32Array[]): Float32Array {
  return byCoordinate(deltas, medianOfSorted);
}

/**
 * Coordinate-wise mean of `deltas` (n of them, each length P, finite) without the floor(share × n) smallest and as many
 * largest values, at least one of which is kept. Unweighted, as the source states it: a weight is a claim that a faulty
 * gateway can make too. Bears floor(share × n) faulty deltas, so none where n < 1 / share.
 * Throws EmptyRoundError for none, RangeError for a share outside [0, 0.5). Yin et al. 2018, Definition 2.
 */
export function trimmedMean(deltas: readonly Float32Array[], share = 0.2): Float32Array {
  if (!(share >= 0 && share < 0.5))
    throw new RangeError(`a share of ${share} cannot be trimmed: it must be in [0, 0.5)`);
  const cut = Math.min(countOf(share, deltas.length), Math.floor((deltas.length - 1) / 2));
  return byCoordinate(deltas, (sorted) => {
    let sum = 0;
    for (let i = cut; i < sorted.length - cut; i++) sum += Number(sorted[i]);
    return sum / (sorted.length - 2 * cut);
  });
}
