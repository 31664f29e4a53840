// A chain of fully connected layers, tanh between them and a linear output.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/graph.ts";
import type { WeightTensor } from "../plan.ts";
import { layOut } from "./weight-layout.ts";

/** Weight and bias of every layer; `widths` begins with the input's and ends with the output's. */
export function denseWeights(widths: readonly number[]): WeightTensor[] {
  return layOut(
    widths.slice(1).flatMap((width, at) => [
      { name: `layer${at + 1}.weight`, shape: [widths[at] as number, width] },
      { name: `layer${at + 1}.bias`, shape: [width] },
    ]),
  );
}

/** `weights`: the values of denseWeights, in that order. */
export function dense(b: GraphBuilder, x: Value, weights: readonly Value[]): Value {
  let layer = x;
  for (let at = 0; at < weights.length; at += 2) {
    const linear = b.gemm(layer, weights[at] as Value, { c: weights[at + 1] as Value });
    layer = at + 2 < weights.length ? b.tanh(linear) : linear;
  }
  return layer;
}
