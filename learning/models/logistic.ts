// Logistic classifier: the probability that a row belongs to class 1.
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Value } from "../graph/graph.ts";
import type { WeightTensor } from "../plan.ts";
import { trainGraph, weightInputs } from "./train-step.ts";
import { layOut } from "./weight-layout.ts";

export interface LogisticModel {
  readonly weights: readonly WeightTensor[];
  /** `x [N,F]`, weights → `score [N]`, the probability. */
  readonly score: Graph;
  /** `x [N,F]`, `y [N]` (0 or 1), `lr []`, weights → `loss []`, the mean cross-entropy in nats, and the new weights. */
  readonly train: Graph;
}

export function buildLogistic(featureCount: number): LogisticModel {
  const weights = layOut([
    { name: "weight", shape: [featureCount, 1] },
    { name: "bias", shape: [1] },
  ]);
  return { weights, score: scoreGraph(featureCount, weights), train: crossEntropyGraph(featureCount, weights) };
}

function logit(b: GraphBuilder, x: Value, [weight, bias]: readonly Value[]): Value {
  return b.squeeze(b.gemm(x, weight as Value, { c: bias as Value }), [1]);
}

function scoreGraph(featureCount: number, weights: readonly WeightTensor[]): Graph {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", featureCount]);
  return b.build("score", { score: b.sigmoid(logit(b, x, weightInputs(b, weights))) });
}

function crossEntropyGraph(featureCount: number, weights: readonly WeightTensor[]): Graph {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", featureCount]);
  const y = b.input("y", ["N"]);
  const lr = b.input("lr", []);
  const inputs = weightInputs(b, weights);
  const z = logit(b, x, inputs);
  // −y ln p − (1 − y) ln(1 − p) with p = sigmoid(z), in the form that does not overflow.
  const loss = b.mean(b.sub(b.softplus(z), b.mul(y, z)), [0]);
  return trainGraph(b, loss, lr, inputs);
}
