// How abnormal a row is, as a graph.
import { GraphBuilder } from "../graph/builder.ts";
import { gradients } from "../graph/gradients.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { weightCount } from "../plan.ts";
import { WEIGHTS } from "./signature.ts";
import type { Objective } from "./train-graph.ts";
import { unpack } from "./weight-layout.ts";

type Network = Pick<Objective, "featureCount" | "layout" | "output">;

/** `score` = √(mean of the row's `largest` largest squared errors, or of all), `residual` = squared errors. */
export function errorScoreGraph(network: Network, largest: number | null): Graph {
  const { b, output: error } = forward(network);
  const residual = b.mul(error, error);
  const counted = largest === null ? residual : b.largest(residual, largest);
  return b.build("score", { score: b.sqrt(b.mean(counted, [1])), residual });
}

/** `score` = sigmoid(logit), `residual` = (x · ∂logit/∂x)²: what each feature did to the logit, to first order. */
export function probabilityScoreGraph(network: Network): Graph {
  const { b, x, output: logit } = forward(network);
  const one = b.broadcastLike(b.constant([1], [1]), logit);
  const [slope] = gradients(b, logit, one, [x]) as [Value];
  const part = b.mul(x, slope);
  return b.build("score", { score: b.sigmoid(logit), residual: b.mul(part, part) });
}

function forward({ featureCount, layout, output }: Network) {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", featureCount]);
  const weights = b.input(WEIGHTS, [weightCount(layout)]);
  return { b, x, output: output(b, x, unpack(b, weights, layout)) };
}
