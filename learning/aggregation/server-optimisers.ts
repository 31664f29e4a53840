// Server optimisers: from a round's combined delta to the step the global weights take.
import { InvalidRoundError } from "./fedavg.ts";

export type ServerOptimiser =
  | { readonly kind: "none" }
  /** `momentum` in [0, 1). */
  | { readonly kind: "avgm"; readonly momentum: number; readonly rate: number }
  /** `beta1` and `beta2` in [0, 1); `tau`, the least a root of v counts for, above 0. */
  | {
      readonly kind: "adam" | "yogi";
      readonly rate: number;
      readonly beta1: number;
      readonly beta2: number;
      readonly tau: number;
    };

/** All that a later step depends on; storing the arrays as float32 and restoring them continues bit for bit. */
export interface ServerState {
  /** First moment, length P; empty for "none". */
  readonly m: Float32Array;
  /** Second moment, length P; empty for "none" and "avgm". */
  readonly v: Float32Array;
  /** Steps taken. */
  readonly step: number;
}

type Adaptive = Extract<ServerOptimiser, { beta1: number }>;

/**
 * The state before the first step over `parameters` = P weights: m zero, v = tau². Throws RangeError for a setting out
 * of range.
 */
export function initialServerState(optimiser: ServerOptimiser, parameters: number): ServerState {
  checkSettings(optimiser);
  const { m, v } = lengths(optimiser, parameters);
  return { m: new Float32Array(m), v: new Float32Array(v).fill("tau" in optimiser ? optimiser.tau ** 2 : 0), step: 0 };
}

/**
 * The step for `delta` (length P), to be added to the global weights, and the state after it; nothing given is changed,
 * so a rejected candidate's state is simply not kept.
 *   avgm: m ← momentum m + delta, step = rate m (Hsu et al. 2019).
 *   adam: m ← beta1 m + (1 − beta1) delta, v ← beta2 v + (1 − beta2) delta², step = rate m / (√v + tau).
 *   yogi: as adam, but v ← v − (1 − beta2) delta² sign(v − delta²).
 * Without bias correction: Reddi et al. 2021, Algorithm 2. Throws InvalidRoundError when the state is not this
 * optimiser's for P parameters or a result is not finite, RangeError for a setting out of range.
 */
export function serverStep(
  optimiser: ServerOptimiser,
  state: ServerState,
  delta: Float32Array,
): { readonly delta: Float32Array; readonly state: ServerState } {
  checkSettings(optimiser);
  const expected = lengths(optimiser, delta.length);
  if (state.m.length !== expected.m || state.v.length !== expected.v) {
    throw new InvalidRoundError(`the server's state is not that of ${optimiser.kind} for ${delta.length} parameters`);
  }
  const next = advance(optimiser, state, delta);
  if (![next.delta, next.state.m, next.state.v].every((values) => values.every(Number.isFinite))) {
    throw new InvalidRoundError("the server's step is not finite");
  }
  return next;
}

function advance(optimiser: ServerOptimiser, state: ServerState, delta: Float32Array) {
  const step = state.step + 1;
  switch (optimiser.kind) {
    case "none":
      return { delta: delta.slice(), state: { ...state, step } };
    case "avgm": {
      const m = state.m.map((value, i) => optimiser.momentum * value + Number(delta[i]));
      return { delta: m.map((value) => optimiser.rate * value), state: { m, v: state.v, step } };
    }
    case "adam":
    case "yogi": {
      const m = state.m.map((value, i) => optimiser.beta1 * value + (1 - optimiser.beta1) * Number(delta[i]));
      const v = state.v.map((value, i) => secondMoment(optimiser, value, Number(delta[i]) ** 2));
      const scaled = m.map((value, i) => (optimiser.rate * value) / (Math.sqrt(Number(v[i])) + optimiser.tau));
      return { delta: scaled, state: { m, v, step } };
    }
  }
}

function secondMoment({ kind, beta2 }: Adaptive, v: number, squared: number): number {
  return kind === "adam" ? beta2 * v + (1 - beta2) * squared : v - (1 - beta2) * squared * Math.sign(v - squared);
}

function lengths(optimiser: ServerOptimiser, parameters: number): { m: number; v: number } {
  const adaptive = optimiser.kind === "adam" || optimiser.kind === "yogi";
  return { m: optimiser.kind === "none" ? 0 : parameters, v: adaptive ? parameters : 0 };
}

function checkSettings(optimiser: ServerOptimiser): void {
  for (const [name, value] of Object.entries(optimiser)) {
    if (name === "kind") continue;
    const positive = name === "rate" || name === "tau";
    const allowed = positive ? value > 0 && value < Number.POSITIVE_INFINITY : value >= 0 && value < 1;
    if (!allowed) throw new RangeError(`${name} ${value} must be ${positive ? "positive and finite" : "in [0, 1)"}`);
  }
}
