// The generalised Pareto distribution: what lies beyond a high level, fitted to the excesses over it.

/** P(Y > y) = (1 + shape·y/scale)^(−1/shape), exp(−y/scale) at shape 0; scale > 0, in the excesses' unit. */
export interface Gpd {
  readonly shape: number;
  readonly scale: number;
}

/** Points of the two searches for sign changes, and halvings of each interval found. */
const GRID = 48;
const HALVINGS = 60;
/** Towards a shape below −1 the likelihood has no bound: the fit would only restate the largest excess. */
const MIN_SHAPE = -1;

/** Nearer to 0 than this a shape is 0: its quotients would only be rounding. */
const NO_SHAPE = 1e-9;

/** Mean log density of `excesses` (each ≥ 0); −∞ where one is impossible. */
export function meanLogLikelihood({ shape, scale }: Gpd, excesses: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < excesses.length; i++) {
    const reach = (shape * Number(excesses[i])) / scale;
    if (reach <= -1) return Number.NEGATIVE_INFINITY;
    total += Math.abs(shape) < NO_SHAPE ? Number(excesses[i]) / scale : (1 + 1 / shape) * Math.log1p(reach);
  }
  return -Math.log(scale) - total / excesses.length;
}

/** Mean of ln(1 + x·y): the most likely shape for a given x = shape/scale. */
function shapeAt(x: number, excesses: Float64Array): number {
  let total = 0;
  for (const y of excesses) total += Math.log1p(x * y);
  return total / excesses.length;
}

/** Zero where the likelihood is stationary along x = shape/scale. Grimshaw 1993. */
function stationarity(x: number, excesses: Float64Array): number {
  let inverse = 0;
  for (const y of excesses) inverse += 1 / (1 + x * y);
  return (inverse / excesses.length) * (1 + shapeAt(x, excesses)) - 1;
}

/** Where `f` changes its sign between neighbouring points; `points` ascend. */
function roots(f: (x: number) => number, points: readonly number[]): number[] {
  const values = points.map(f);
  return points.slice(1).flatMap((high, i) => {
    if (!(Number(values[i]) * Number(values[i + 1]) < 0)) return [];
    let [left, right] = [Number(points[i]), high];
    const rises = Number(values[i]) < 0;
    for (let step = 0; step < HALVINGS; step++) {
      const middle = (left + right) / 2;
      if (f(middle) < 0 === rises) left = middle;
      else right = middle;
    }
    return [(left + right) / 2];
  });
}

/** Both searches, for excesses of mean 1: below zero down to −1/max, above up to 2(mean − min)/min². Grimshaw 1993. */
function searchPoints(excesses: Float64Array): { below: number[]; above: number[] } {
  const max = excesses.reduce((a, b) => Math.max(a, b));
  const min = excesses.reduce((a, b) => Math.min(a, b));
  const smallest = 1e-4;
  const upper = Math.min((2 * (1 - min)) / min ** 2, 1e4);
  const grid = Array.from({ length: GRID }, (_, i) => i / (GRID - 1));
  // In equal steps of the log odds of 1 + x·max, from 1e-9 to nearly 1: the curve turns fastest at both ends.
  const logit = (u: number) => Math.log(u / (1 - u));
  const [from, to] = [logit(1e-9), logit(1 - Math.min(smallest * max, 0.5))];
  const below = grid.map((at) => -1 / (1 + Math.exp(from + (to - from) * at)) / max);
  const above = upper > smallest ? grid.map((at) => smallest * (upper / smallest) ** at) : [];
  return { below, above };
}

/** Probability-weighted moments, for excesses of mean 1. Hosking & Wallis 1987. */
function weightedMoments(excesses: Float64Array): Gpd {
  const sorted = excesses.toSorted();
  const n = sorted.length;
  const first = sorted.reduce((total, y, i) => total + y * (1 - (i + 1 - 0.35) / n), 0) / n;
  const spread = 1 - 2 * first;
  return { shape: 2 - 1 / spread, scale: (2 * first) / spread };
}

/**
 * The distribution of `excesses` (length ≥ 2, finite, > 0): the likeliest of Grimshaw's stationary points with a shape of
 * at least −1 and the exponential; few excesses may have no such point, then of probability-weighted moments and the
 * exponential. Null when the excesses are too few, not positive or all equal: then there is no tail to fit. Grimshaw 1993,
 * Hosking & Wallis 1987. Time O(n × some thousand).
 */
export function fitGpd(excesses: ArrayLike<number>): Gpd | null {
  const given = Float64Array.from(excesses);
  if (given.length < 2 || !given.every((y) => y > 0 && y < Number.POSITIVE_INFINITY)) return null;
  if (given.every((y) => y === given[0])) return null;
  const mean = given.reduce((total, y) => total + y / given.length, 0);
  const unit = given.map((y) => y / mean);
  const { below, above } = searchPoints(unit);
  const stationary = [below, above]
    .flatMap((points) => roots((x) => stationarity(x, unit), points))
    .map((x) => ({ shape: shapeAt(x, unit), scale: shapeAt(x, unit) / x }))
    .filter(({ shape }) => shape >= MIN_SHAPE);
  const candidates = [{ shape: 0, scale: 1 }, ...(stationary.length > 0 ? stationary : [weightedMoments(unit)])];
  const likelihood = (gpd: Gpd) =>
    gpd.shape >= MIN_SHAPE && gpd.scale > 0 ? meanLogLikelihood(gpd, unit) : Number.NEGATIVE_INFINITY;
  const best = candidates.reduce((a, b) => (likelihood(b) > likelihood(a) ? b : a));
  return { shape: best.shape, scale: best.scale * mean };
}

/** The excess that a share `beyond` (0 < beyond ≤ 1) of the excesses goes beyond. */
export function excessQuantile({ shape, scale }: Gpd, beyond: number): number {
  const log = Math.log(beyond);
  return Math.abs(shape) < NO_SHAPE ? -scale * log : (scale / shape) * Math.expm1(-shape * log);
}
