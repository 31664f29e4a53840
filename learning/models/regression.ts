// A dense network that predicts some feature columns from others; its squared errors are what is abnormal about a row.
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Value } from "../graph/graph.ts";
import type { WeightTensor } from "../plan.ts";
import { dense, denseWeights } from "./dense.ts";
import { trainGraph, weightInputs } from "./train-step.ts";

export interface Columns {
  readonly start: number;
  readonly end: number;
}

export interface Regression {
  readonly featureCount: number;
  readonly from: Columns;
  readonly to: Columns;
  readonly hidden: readonly number[];
}

export interface RegressionGraphs {
  readonly weights: readonly WeightTensor[];
  /** `x [N,F]`, weights → `score [N]` = √(mean of the row's residuals), `residual [N,R]` = squared errors. */
  readonly score: Graph;
  /** `x [N,F]`, `lr []`, weights → `loss []` = mean over rows of ½ Σ squared errors, and the new weights. */
  readonly train: Graph;
}

const width = ({ start, end }: Columns) => end - start;

export function regressionGraphs(model: Regression): RegressionGraphs {
  const weights = denseWeights([width(model.from), ...model.hidden, width(model.to)]);
  return { weights, score: scoreGraph(model, weights), train: squaredErrorGraph(model, weights) };
}

/** Prediction minus target, `[N,R]`. */
function errors(b: GraphBuilder, { featureCount, from, to }: Regression, x: Value, weights: readonly Value[]): Value {
  const pick = (columns: Columns) => (width(columns) === featureCount ? x : b.columns(x, columns.start, columns.end));
  return b.sub(dense(b, pick(from), weights), pick(to));
}

function scoreGraph(model: Regression, weights: readonly WeightTensor[]): Graph {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", model.featureCount]);
  const error = errors(b, model, x, weightInputs(b, weights));
  const residual = b.mul(error, error);
  return b.build("score", { score: b.sqrt(b.mean(residual, [1])), residual });
}

function squaredErrorGraph(model: Regression, weights: readonly WeightTensor[]): Graph {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", model.featureCount]);
  const lr = b.input("lr", []);
  const inputs = weightInputs(b, weights);
  const error = errors(b, model, x, inputs);
  // Size(error) = rows × columns, so this is ½ / rows.
  const scale = b.div(b.constant([], [width(model.to) / 2]), b.size(error));
  return trainGraph(b, b.mul(b.sumSquares(error, [0, 1]), scale), lr, inputs);
}
