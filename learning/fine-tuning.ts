// Which weights of a plan a gateway may move for its own scores: those of the last layers, one after the other.
import { type Manifest, type WeightTensor, weightCount } from "./plan.ts";

/**
 * Index of the first weight that moves, of P; all from there on do. P where the plan says nothing of fine-tuning, 0 where
 * it names as many layers as there are, or more.
 */
export function firstTuned({ weights, fineTuning }: Pick<Manifest, "weights" | "fineTuning">): number {
  if (fineTuning === undefined) return weightCount(weights);
  return layersOf(weights).at(-fineTuning.layers)?.at(0)?.offset ?? 0;
}

/** Tensors that follow each other and whose names are alike up to the last dot: "layer3.weight" and "layer3.bias". */
export function layersOf(weights: readonly WeightTensor[]): readonly (readonly WeightTensor[])[] {
  const layers: WeightTensor[][] = [];
  for (const tensor of weights) {
    const last = layers.at(-1);
    if (last !== undefined && layerName(last.at(0)) === layerName(tensor)) last.push(tensor);
    else layers.push([tensor]);
  }
  return layers;
}

const layerName = (tensor: WeightTensor | undefined) => tensor?.name.replace(/\.[^.]*$/, "");
