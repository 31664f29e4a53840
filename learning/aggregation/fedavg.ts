// Federated averaging: many deltas into one, weighted by what each was learned from.

export class EmptyRoundError extends Error {
  constructor() {
    super("a round without updates cannot be combined");
    this.name = "EmptyRoundError";
  }
}

/** Deltas or weights that cannot be combined: other lengths, values that are not finite, a weight sum that is not positive. */
export class InvalidRoundError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "InvalidRoundError";
  }
}

function sameLength(a: Float32Array, b: Float32Array): void {
  if (a.length !== b.length) throw new InvalidRoundError(`${a.length} and ${b.length} parameters do not go together`);
}

/** Σ weights; throws unless every weight is finite and not negative and the sum is positive and finite. */
function checkedSum(weights: readonly number[]): number {
  const wrong = weights.find((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
  if (wrong !== undefined) throw new InvalidRoundError(`${wrong} is not a weight: it must be finite and not negative`);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (!(sum > 0 && Number.isFinite(sum)))
    throw new InvalidRoundError(`the weights sum to ${sum}, which must be positive`);
  return sum;
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

function addScaled(sums: Float64Array, delta: Float32Array, share: number): void {
  for (let i = 0; i < sums.length; i++) sums[i] = Number(sums[i]) + share * Number(delta[i]);
}

/**
 * Σ wᵢ deltaᵢ / Σ wᵢ over `deltas` (each length P, float32; summed in float64). Throws EmptyRoundError for none,
 * InvalidRoundError for anything that would make the mean meaningless. McMahan et al. 2017, Algorithm 1.
 */
export function weightedMean(deltas: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const [first] = deltas;
  if (first === undefined) throw new EmptyRoundError();
  if (deltas.length !== weights.length) {
    throw new InvalidRoundError(`${deltas.length} deltas for ${weights.length} weights`);
  }
  const sum = checkedSum(weights);
  const mean = new Float64Array(first.length);
  deltas.forEach((delta, i) => {
    sameLength(first, delta);
    if (!allFinite(delta)) throw new InvalidRoundError(`delta ${i} has a value that is not finite`);
    addScaled(mean, delta, Number(weights[i]) / sum);
  });
  return Float32Array.from(mean);
}

/** base + delta (both length P). Throws InvalidRoundError when the lengths differ or a sum is not finite. */
export function applyDelta(base: Float32Array, delta: Float32Array): Float32Array {
  sameLength(base, delta);
  const moved = base.map((value, i) => value + Number(delta[i]));
  if (!allFinite(moved)) throw new InvalidRoundError("the moved weights are not finite");
  return moved;
}

/** Cosine of the angle between `a` and `b` (both length P), in [-1, 1]; null where either is zero or not finite. */
export function cosine(a: Float32Array, b: Float32Array): number | null {
  sameLength(a, b);
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const x = Number(a[i]);
    const y = Number(b[i]);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  const cos = dot / (Math.sqrt(aa) * Math.sqrt(bb));
  return Number.isFinite(cos) ? Math.max(-1, Math.min(1, cos)) : null;
}
