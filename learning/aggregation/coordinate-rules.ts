// Combining rules that treat each coordinate by itself: median and trimmed mean.
import { EmptyRoundError } from "./fedavg.ts";
import { median } from "./median.ts";

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

/** Coordinates that are looked at together: their values of one delta lie side by side, and all of them fit a cache. */
const COORDINATES_AT_ONCE = 32;

/** For each coordinate, `combine` of its values in `deltas`, in the order given, in a buffer of its own that is reused. */
function byCoordinate(deltas: readonly Float32Array[], combine: (values: Float32Array) => number): Float32Array {
  const [first] = deltas;
  if (first === undefined) throw new EmptyRoundError();
  const columns = Array.from({ length: COORDINATES_AT_ONCE }, () => new Float32Array(deltas.length));
  const combined = new Float32Array(first.length);
  for (let from = 0; from < combined.length; from += COORDINATES_AT_ONCE) {
    const count = Math.min(COORDINATES_AT_ONCE, combined.length - from);
    const here = count < columns.length ? columns.slice(0, count) : columns;
    for (let n = 0; n < deltas.length; n++) {
      const delta = deltas[n] as Float32Array;
      for (let c = 0; c < count; c++) (here[c] as Float32Array)[n] = Number(delta[from + c]);
    }
    for (const [c, column] of here.entries()) combined[from + c] = combine(column);
  }
  return combined;
}

/** `combine` of a coordinate's values, ascending, and of the voices they came with; both buffers are reused. */
function ascending(
  voices: readonly number[],
  combine: (sorted: Float32Array, voices: Float64Array) => number,
): (values: Float32Array) => number {
  const sortedVoices = new Float64Array(voices.length).fill(1);
  if (areAlike(voices)) return (values) => combine(values.sort(), sortedVoices);
  const order = Uint32Array.from(voices.keys());
  return (values) => {
    order.sort((a, b) => Number(values[a]) - Number(values[b]) || a - b);
    for (const [n, index] of order.entries()) sortedVoices[n] = Number(voices[index]);
    return combine(values.sort(), sortedVoices);
  };
}

const areAlike = (voices: readonly number[]) => voices.every((voice) => voice === voices[0]);

const equalVoices = (deltas: readonly Float32Array[]) => deltas.map(() => 1);

/**
 * Coordinate-wise median of `deltas` (n of them, each length P, finite): any minority of them can be anything. `voices`
 * (n, above 0) weigh in as far as `withoutRulingMinority` lets them; alike by default.
 * Throws EmptyRoundError for none. Yin et al. 2018, Definition 1.
 */
export function coordinateMedian(
  deltas: readonly Float32Array[],
  voices: readonly number[] = equalVoices(deltas),
): Float32Array {
  const heard = withoutRulingMinority(voices);
  return byCoordinate(deltas, areAlike(heard) ? median : ascending(heard, weightedMedian));
}

/** The value at which half of all voices are reached; where they are reached exactly, the mean of it and the next. */
function weightedMedian(sorted: Float32Array, voices: Float64Array): number {
  const half = voices.reduce((sum, voice) => sum + voice, 0) / 2;
  let reached = 0;
  let at = 0;
  while (at < sorted.length - 1) {
    reached += Number(voices[at]);
    if (reached >= half) break;
    at++;
  }
  const next = reached === half ? Math.min(at + 1, sorted.length - 1) : at;
  return (Number(sorted[at]) + Number(sorted[next])) / 2;
}

/** Halvings of an interval of voices: to a billionth of the strongest. */
const LEVEL_STEPS = 30;

/**
 * `voices` with the weakest raised, just so far that no minority of them holds half of all: where a median weighs by
 * them, fewer than half of the voters can still not move it out of the range of the others.
 */
export function withoutRulingMinority(voices: readonly number[]): readonly number[] {
  const minority = Math.floor((voices.length - 1) / 2);
  const rules = (level: number) => {
    const strongestFirst = Float64Array.from(voices, (voice) => Math.max(voice, level))
      .sort()
      .reverse();
    const sum = (part: Float64Array) => part.reduce((total, voice) => total + voice, 0);
    return sum(strongestFirst.subarray(0, minority)) >= sum(strongestFirst.subarray(minority));
  };
  if (voices.length === 0 || !rules(0)) return voices;
  let [low, high] = [0, Math.max(...voices)];
  for (let step = 0; step < LEVEL_STEPS; step++) {
    const middle = (low + high) / 2;
    if (rules(middle)) low = middle;
    else high = middle;
  }
  return voices.map((voice) => Math.max(voice, high));
}

/**
 * Coordinate-wise mean of `deltas` (n of them, each length P, finite) without the floor(share × n) smallest and as many
 * largest values, at least one of which is kept. What is cut goes by number, as the source states it: a weight is a
 * claim that a faulty gateway can make too; what is kept weighs by `voices` (n, above 0), alike by default. Bears
 * floor(share × n) faulty deltas, so none where n < 1 / share.
 * Throws EmptyRoundError for none, RangeError for a share outside [0, 0.5). Yin et al. 2018, Definition 2.
 */
export function trimmedMean(
  deltas: readonly Float32Array[],
  share = 0.2,
  voices: readonly number[] = equalVoices(deltas),
): Float32Array {
  if (!(share >= 0 && share < 0.5))
    throw new RangeError(`a share of ${share} cannot be trimmed: it must be in [0, 0.5)`);
  const cut = Math.min(countOf(share, deltas.length), Math.floor((deltas.length - 1) / 2));
  const trimmed = ascending(voices, (sorted, sortedVoices) => {
    let sum = 0;
    let heard = 0;
    for (let i = cut; i < sorted.length - cut; i++) {
      sum += Number(sortedVoices[i]) * Number(sorted[i]);
      heard += Number(sortedVoices[i]);
    }
    return sum / heard;
  });
  return byCoordinate(deltas, trimmed);
}
