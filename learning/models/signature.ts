// What a plan's graphs take and give, by name and shape. N is the number of rows, F of features, P of parameters.
import type { Value } from "../graph/graph.ts";
import { type Manifest, type OptimiserSettings, type PlanSettings, type WeightTensor, weightCount } from "../plan.ts";

export interface Signature {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/** All parameters as one vector [P], in layout order. */
export const WEIGHTS = "weights";
/** The weights that the proximal term holds on to, [P]. */
export const BASE = "weights_base";

/** Name of the output that holds the new values of such an input. */
export const nextName = (input: string) => `${input}_next`;

/** The optimiser's vectors [P], which are inputs, and outputs under their next names. */
export function momentNames({ kind }: OptimiserSettings): string[] {
  const [first, second] = [`${WEIGHTS}_m`, `${WEIGHTS}_v`];
  return kind === "sgd" ? [] : kind === "momentum" ? [first] : [first, second];
}

/** `x` [N,F] and the weights give `score` [N] and, by residual column, what the score comes from: `residual` [N,R]. */
export function scoreSignature(manifest: Pick<Manifest, "featureCount" | "weights" | "residualChannels">): Signature {
  return {
    inputs: [featureRows(manifest), flat(WEIGHTS, manifest.weights)],
    outputs: [
      { name: "score", shape: ["N"] },
      { name: "residual", shape: ["N", manifest.residualChannels.length] },
    ],
  };
}

/**
 * One step on `x` [N,F] at the rate `lr` gives the `loss` before it and the new weights. A classifier takes labels `y`
 * [N], 0 or 1; a proximal term takes the base; momentum and Adam take and give their moments, zero before the first
 * step; Adam takes the number of the `step`, counted from 1.
 */
export function trainSignature(
  manifest: Pick<PlanSettings, "model" | "training"> & Pick<Manifest, "featureCount" | "weights">,
): Signature {
  const { optimiser, proximal } = manifest.training;
  const vector = (name: string) => flat(name, manifest.weights);
  const moments = momentNames(optimiser);
  const scalar = (name: string): Value => ({ name, shape: [] });
  return {
    inputs: [
      featureRows(manifest),
      ...(takesLabels(manifest) ? [{ name: "y", shape: ["N"] } as const] : []),
      scalar("lr"),
      ...(optimiser.kind === "adam" ? [scalar("step")] : []),
      vector(WEIGHTS),
      ...(proximal > 0 ? [vector(BASE)] : []),
      ...moments.map(vector),
    ],
    outputs: [scalar("loss"), ...[WEIGHTS, ...moments].map((name) => vector(nextName(name)))],
  };
}

export const takesLabels = ({ model }: Pick<PlanSettings, "model">) => model.kind === "classifier";

/** Its weights are the trees themselves: they are grown and pooled, and there is no gradient. */
export const growsTrees = ({ model }: Pick<PlanSettings, "model">) => model.kind === "isolation_forest";

const featureRows = ({ featureCount }: { readonly featureCount: number }): Value => ({
  name: "x",
  shape: ["N", featureCount],
});

const flat = (name: string, layout: readonly WeightTensor[]): Value => ({ name, shape: [weightCount(layout)] });
