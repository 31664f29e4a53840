// Thresholds and confidence from a device's own normal scores.

/**
 * The q-quantile (q in [0, 1]) of `values` in any order, linear between order statistics. Throws RangeError for no values,
 * a q outside, or a NaN. Hyndman & Fan 1996, type 7.
 */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`quantile ${q} is outside 0 to 1`);
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0 || Number.isNaN(sorted.at(-1)))
    throw new RangeError("a quantile needs values that are numbers");
  const at = q * (sorted.length - 1);
  const low = Number(sorted[Math.floor(at)]);
  const high = Number(sorted[Math.ceil(at)]);
  return low === high ? low : low + (high - low) * (at - Math.floor(at));
}

/**
 * The share of normal scores that `score` reaches, (# sorted ≤ score) / (n + 1), in [0, 1): one minus the conformal
 * p-value. `sorted` ascends. Vovk et al. 2005.
 */
export function percentile(sorted: ArrayLike<number>, score: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Number(sorted[middle]) <= score) low = middle + 1;
    else high = middle;
  }
  return low / (sorted.length + 1);
}
