// One training step as a graph: forward pass, backward pass, penalties and the optimiser.
import { GraphBuilder } from "../graph/builder.ts";
import { gradients } from "../graph/gradients.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { type TrainingSettings, type WeightTensor, weightCount } from "../plan.ts";
import type { Loss } from "./losses.ts";
import { clipNorm, optimise } from "./optimisers.ts";
import { BASE, momentNames, nextName, WEIGHTS } from "./signature.ts";
import { pack, unpack } from "./weight-layout.ts";

/** What a model computes from its features and weight tensors, and what is wrong with it. */
export interface Objective {
  readonly featureCount: number;
  readonly layout: readonly WeightTensor[];
  readonly output: (b: GraphBuilder, x: Value, weights: readonly Value[]) => Value;
  readonly loss: (b: GraphBuilder, output: Value) => Loss;
}

export interface TrainGraph {
  readonly graph: Graph;
  /** The value within it that is the gradient [P] of its `loss`, penalties included, before it is clipped. */
  readonly gradient: string;
}

/** As trainSignature says; only what `training` asks for is in the graph. */
export function trainGraph(objective: Objective, training: TrainingSettings): TrainGraph {
  const { layout } = objective;
  const b = new GraphBuilder();
  const vector = (name: string) => b.input(name, [weightCount(layout)]);
  const x = b.input("x", ["N", objective.featureCount]);
  const weights = vector(WEIGHTS);
  const { loss, gradient } = lossAndGradient(b, objective, training, { x, weights });
  const names = momentNames(training.optimiser);
  const next = optimise(b, training.optimiser, {
    weights,
    gradient: training.clip === null ? gradient : clipNorm(b, gradient, training.clip),
    moments: names.map(vector),
    lr: b.input("lr", []),
  });
  const graph = b.build("train", {
    loss,
    [nextName(WEIGHTS)]: next.weights,
    ...Object.fromEntries(names.map((name, at) => [nextName(name), next.moments[at] as Value])),
  });
  return { graph, gradient: gradient.name };
}

interface LossAndGradient {
  /** [] */
  readonly loss: Value;
  /** [P] */
  readonly gradient: Value;
}

function lossAndGradient(
  b: GraphBuilder,
  { layout, output: outputOf, loss: lossOf }: Objective,
  { l2, proximal }: TrainingSettings,
  { x, weights }: Record<"x" | "weights", Value>,
): LossAndGradient {
  const tensors = unpack(b, weights, layout);
  const output = outputOf(b, x, tensors);
  const { value, slope } = lossOf(b, output);
  const slopes = gradients(b, output, slope, tensors);
  const decayed = l2 > 0 ? weightDecay(b, value, tensors, slopes, l2) : { loss: value, slopes };
  const data = { loss: decayed.loss, gradient: pack(b, decayed.slopes, layout) };
  return proximal > 0 ? heldToBase(b, data, weights, proximal) : data;
}

/** Adds ½ λ ‖w‖² of each matrix to the loss and λ w to its slope. */
function weightDecay(b: GraphBuilder, loss: Value, tensors: readonly Value[], slopes: readonly Value[], l2: number) {
  const factor = b.constant([], [l2]);
  const isMatrix = (tensor: Value) => tensor.shape.length > 1;
  const squares = tensors.filter(isMatrix).map((tensor) => b.sumSquares(tensor, [0, 1]));
  const penalty = b.mul(b.constant([], [l2 / 2]), squares.reduce(b.add));
  return {
    loss: b.add(loss, penalty),
    slopes: slopes.map((slope, at) => {
      const tensor = tensors[at] as Value;
      return isMatrix(tensor) ? b.add(slope, b.mul(factor, tensor)) : slope;
    }),
  };
}

/** Adds ½ μ ‖w − base‖² to the loss and μ (w − base) to the gradient. Li et al. 2020. */
function heldToBase(b: GraphBuilder, { loss, gradient }: LossAndGradient, weights: Value, mu: number): LossAndGradient {
  const away = b.sub(weights, b.input(BASE, weights.shape));
  const penalty = b.mul(b.constant([], [mu / 2]), b.sumSquares(away, [0]));
  return { loss: b.add(loss, penalty), gradient: b.add(gradient, b.mul(b.constant([], [mu]), away)) };
}
