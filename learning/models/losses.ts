// Losses with their slopes: what is minimised, and how it changes with what the model gives.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/graph.ts";
import type { LossSettings } from "../plan.ts";

export interface Loss {
  /** [] */
  readonly value: Value;
  /** ∂value/∂output, in the output's shape: where the walk back through the model begins. */
  readonly slope: Value;
}

/** Half the square of each of `error` [N,R], summed over columns, averaged over rows. */
export function squaredLoss(b: GraphBuilder, error: Value): Loss {
  const share = oneRowsShare(b, error);
  const value = b.mul(b.mul(b.sumSquares(error, [0, 1]), share), b.constant([], [0.5]));
  return { value, slope: b.mul(error, share) };
}

/** Half the square up to `delta` and a straight line beyond, summed and averaged likewise. Huber 1964. */
export function huberLoss(b: GraphBuilder, error: Value, delta: number): Loss {
  const share = oneRowsShare(b, error);
  const bounded = b.clip(error, delta);
  // With c the error within ±delta: c (e − c/2) is e²/2 inside and delta (|e| − delta/2) outside; its slope is c.
  const each = b.mul(bounded, b.sub(error, b.mul(bounded, b.constant([], [0.5]))));
  return { value: b.mul(b.sum(each, [0, 1]), share), slope: b.mul(bounded, share) };
}

/** Of labels `y` [N] under the probabilities sigmoid(`logit` [N]): mean cross-entropy in nats. */
export function crossEntropy(b: GraphBuilder, logit: Value, y: Value): Loss {
  // −y ln p − (1 − y) ln(1 − p) with p = sigmoid(z), in the form that does not overflow.
  const value = b.mean(b.sub(b.softplus(logit), b.mul(y, logit)), [0]);
  return { value, slope: b.div(b.sub(b.sigmoid(logit), y), b.size(logit)) };
}

/** The loss a plan names, of `error` [N,R]. */
export function errorLoss(b: GraphBuilder, error: Value, loss: Exclude<LossSettings, { kind: "cross_entropy" }>): Loss {
  return loss.kind === "huber" ? huberLoss(b, error, loss.delta) : squaredLoss(b, error);
}

/** 1 / rows, given a matrix of that many. */
function oneRowsShare(b: GraphBuilder, matrix: Value): Value {
  return b.div(b.constant([], [matrix.shape[1] as number]), b.size(matrix));
}
