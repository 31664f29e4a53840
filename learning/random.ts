// Seeded pseudo-random numbers, so that the same seed gives the same weights, data and intervals.

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Standard normal (Box and Muller 1958). */
  normal(): number;
}

/** Mulberry32 (Tommy Ettinger, public domain algorithm): 2^32 states, ample for weights and simulations, not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return { next, normal };
}
