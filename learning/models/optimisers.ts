// From a gradient to a step, on the flat weight vector.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/graph.ts";
import type { OptimiserSettings } from "../plan.ts";

/** The paper's ε, added to the root of the second moment. */
const ADAM_EPSILON = 1e-8;

/** `gradient` scaled down to a 2-norm of `limit` where it is longer. Pascanu et al. 2013. */
export function clipNorm(b: GraphBuilder, gradient: Value, limit: number): Value {
  const bound = b.constant([], [limit]);
  return b.mul(gradient, b.div(bound, b.max(b.norm(gradient, [0]), bound)));
}

/** The new weights and moments; `moments` and their number are as momentNames says. */
export function optimise(
  b: GraphBuilder,
  optimiser: OptimiserSettings,
  { weights, gradient, moments, lr }: Record<"weights" | "gradient" | "lr", Value> & { moments: readonly Value[] },
): { readonly weights: Value; readonly moments: readonly Value[] } {
  switch (optimiser.kind) {
    case "sgd":
      return { weights: b.sub(weights, b.mul(lr, gradient)), moments: [] };
    case "momentum": {
      const velocity = b.add(b.mul(b.constant([], [optimiser.momentum]), moments[0] as Value), gradient);
      return { weights: b.sub(weights, b.mul(lr, velocity)), moments: [velocity] };
    }
    case "adam":
      return adam(b, optimiser, { weights, gradient, moments, lr });
  }
}

/** Kingma & Ba 2015, Algorithm 1; takes the further input `step`. */
function adam(
  b: GraphBuilder,
  { beta1, beta2 }: OptimiserSettings & { kind: "adam" },
  { weights, gradient, moments, lr }: Record<"weights" | "gradient" | "lr", Value> & { moments: readonly Value[] },
): { readonly weights: Value; readonly moments: readonly Value[] } {
  const step = b.input("step", []);
  const [before, beforeSquared] = moments as [Value, Value];
  const mean = fade(b, before, gradient, beta1);
  const square = fade(b, beforeSquared, b.mul(gradient, gradient), beta2);
  const corrected = b.div(mean, seenShare(b, beta1, step));
  const root = b.sqrt(b.div(square, seenShare(b, beta2, step)));
  const move = b.div(corrected, b.add(root, b.constant([], [ADAM_EPSILON])));
  return { weights: b.sub(weights, b.mul(lr, move)), moments: [mean, square] };
}

/** β·before + (1 − β)·now */
function fade(b: GraphBuilder, before: Value, now: Value, beta: number): Value {
  return b.add(b.mul(b.constant([], [beta]), before), b.mul(b.constant([], [1 - beta]), now));
}

const NO_MEMORY = 1e-30;

/** 1 − βᵗ as 2 h / (1 + h) with h = tanh(−t ln β / 2), which float32 does not lose digits in for a β near 1. */
function seenShare(b: GraphBuilder, beta: number, step: Value): Value {
  const half = b.constant([], [-Math.log(Math.max(beta, NO_MEMORY)) / 2]);
  const h = b.tanh(b.mul(step, half));
  return b.div(b.add(h, h), b.add(h, b.constant([], [1])));
}
