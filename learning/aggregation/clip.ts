// Norm clipping: no delta pulls further than a bound, whatever combines them.
import { medianOfSorted } from "./coordinate-rules.ts";

export type ClipSettings =
  /** To this many times the median of the deltas' norms. */
  | { readonly medianMultiple: number }
  /** To this norm. */
  | { readonly maxNorm: number };

export interface Clipped {
  readonly deltas: readonly Float32Array[];
  /** Indices of the deltas that were shortened, ascending. */
  readonly clipped: readonly number[];
}

/**
 * `deltas` (each length P, finite) with every one whose Euclidean norm exceeds the bound scaled down to it; the others
 * are given back as they are. Where most deltas are zero a multiple of the median norm is zero, and so is every result.
 * Throws RangeError for a bound that is not positive and finite. Sun et al. 2019 (norm thresholding).
 */
export function clipNorms(deltas: readonly Float32Array[], settings: ClipSettings): Clipped {
  const setting = "maxNorm" in settings ? settings.maxNorm : settings.medianMultiple;
  if (!(setting > 0 && setting < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`${setting} does not bound a norm: it must be positive and finite`);
  }
  if (deltas.length === 0) return { deltas, clipped: [] };
  const norms = Float64Array.from(deltas, norm);
  const bound = "maxNorm" in settings ? setting : setting * medianOfSorted(norms.toSorted());
  return {
    deltas: deltas.map((delta, i) => {
      const length = Number(norms[i]);
      return length > bound ? delta.map((value) => value * (bound / length)) : delta;
    }),
    clipped: [...norms.keys()].filter((i) => Number(norms[i]) > bound),
  };
}

function norm(delta: Float32Array): number {
  return Math.sqrt(delta.reduce((sum, value) => sum + value * value, 0));
}
