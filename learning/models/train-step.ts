// One step of gradient descent as a graph: forward pass, backward pass and the new weights.
import type { GraphBuilder } from "../graph/builder.ts";
import { fuseGemmAdd } from "../graph/fuse.ts";
import { gradients } from "../graph/gradients.ts";
import type { Graph, Value } from "../graph/graph.ts";
import type { WeightTensor } from "../plan.ts";

/** Weight tensors as graph inputs, in layout order. */
export function weightInputs(b: GraphBuilder, weights: readonly WeightTensor[]): Value[] {
  return weights.map(({ name, shape }) => b.input(name, shape));
}

/** Name of the output that holds a tensor's new values. */
export const nextName = (tensor: string) => `${tensor}_next`;

/** Outputs `loss []` and, for each weight w, `<w>_next` = w − lr · ∂loss/∂w. `lr` is a scalar graph input. */
export function trainGraph(b: GraphBuilder, loss: Value, lr: Value, weights: readonly Value[]): Graph {
  const steps = gradients(b, loss, b.neg(lr), weights);
  const next = weights.map((weight, at) => [nextName(weight.name), b.add(weight, steps[at] as Value)] as const);
  return fuseGemmAdd(b.build("train", { loss, ...Object.fromEntries(next) }));
}
