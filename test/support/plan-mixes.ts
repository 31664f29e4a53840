// Every mix of model, loss, optimiser and penalties that a plan may ask for, and a step of it in plain TypeScript.
import type { ModelSettings, OptimiserSettings, PlanSettings, WeightTensor } from "../../learning/plan.ts";
import { featuresOf, testPlan } from "./plan-settings.ts";

const statistics = { kind: "rolling", rows: 20, statistics: ["mean"] } as const;
const wide = featuresOf({ kind: "window", rows: 1 }, statistics);
const window = featuresOf({ kind: "window", rows: 4 });

const MODELS: readonly [ModelSettings, PlanSettings["features"]][] = [
  [{ kind: "dense_autoencoder", hidden: [3] }, wide],
  [{ kind: "conv_autoencoder", filters: [2], kernel: 3 }, window],
  [{ kind: "dense_forecaster", hidden: [] }, window],
  [{ kind: "dense_forecaster", hidden: [2] }, window],
  [{ kind: "classifier", hidden: [] }, wide],
  [{ kind: "classifier", hidden: [3] }, wide],
];
const LOSSES = [{ kind: "squared" }, { kind: "huber", delta: 0.7 }, { kind: "cross_entropy" }] as const;
export const OPTIMISERS: readonly OptimiserSettings[] = [
  { kind: "sgd" },
  { kind: "momentum", momentum: 0.9 },
  { kind: "adam", beta1: 0.9, beta2: 0.999 },
];
const pairs = <A, B>(as: readonly A[], bs: readonly B[]) => as.flatMap((a) => bs.map((b) => [a, b] as const));

/** 360 of them; one norm that gradients are clipped to is below theirs, one above. */
export const PLAN_MIXES: readonly PlanSettings[] = MODELS.flatMap(([model, features]) =>
  pairs(
    LOSSES.filter(({ kind }) => (kind === "cross_entropy") === (model.kind === "classifier")),
    pairs(OPTIMISERS, pairs([null, 0.1, 1000], pairs([0, 0.3], [0, 0.2]))),
  ).map(([loss, [optimiser, [clip, [l2, proximal]]]]) => ({
    ...testPlan,
    features,
    model,
    training: { ...testPlan.training, loss, optimiser, clip, l2, proximal },
  })),
);

export function nameOf({ model, training }: PlanSettings): string {
  const { loss, optimiser, clip, l2, proximal } = training;
  return `${model.kind}, ${loss.kind}, ${optimiser.kind}, clip ${clip}, l2 ${l2}, proximal ${proximal}`;
}

interface PlainStep {
  readonly weights: readonly number[];
  readonly moments: readonly (readonly number[])[];
}

/** From a gradient to weights and moments as the papers write it. */
export function plainStep(
  { optimiser, clip }: Pick<PlanSettings["training"], "optimiser" | "clip">,
  from: PlainStep,
  gradient: readonly number[],
  { lr, step }: { readonly lr: number; readonly step: number },
): PlainStep {
  const norm = Math.hypot(...gradient);
  const g = gradient.map((slope) => (clip !== null && norm > clip ? (slope * clip) / norm : slope));
  const zip = (values: readonly number[] | undefined, f: (value: number, slope: number) => number) =>
    g.map((slope, at) => f(Number(values?.[at]), slope));
  if (optimiser.kind === "sgd") return { weights: zip(from.weights, (w, slope) => w - lr * slope), moments: [] };
  if (optimiser.kind === "momentum") {
    const velocity = zip(from.moments[0], (v, slope) => optimiser.momentum * v + slope);
    return { weights: from.weights.map((w, at) => w - lr * Number(velocity[at])), moments: [velocity] };
  }
  const { beta1, beta2 } = optimiser;
  const mean = zip(from.moments[0], (m, slope) => beta1 * m + (1 - beta1) * slope);
  const square = zip(from.moments[1], (v, slope) => beta2 * v + (1 - beta2) * slope * slope);
  const weights = from.weights.map((w, at) => {
    const unbiased = Number(mean[at]) / (1 - beta1 ** step);
    return w - (lr * unbiased) / (Math.sqrt(Number(square[at]) / (1 - beta2 ** step)) + 1e-8);
  });
  return { weights, moments: [mean, square] };
}

/** ½ λ ‖matrices‖² + ½ μ ‖weights − base‖² */
export function plainPenalty(
  { l2, proximal }: Pick<PlanSettings["training"], "l2" | "proximal">,
  layout: readonly WeightTensor[],
  weights: ArrayLike<number>,
  base: ArrayLike<number>,
): number {
  let penalty = 0;
  for (const { shape, offset } of layout) {
    for (let at = offset; at < offset + shape.reduce((a, b) => a * b, 1); at++) {
      if (shape.length > 1) penalty += (l2 / 2) * Number(weights[at]) ** 2;
      if (proximal > 0) penalty += (proximal / 2) * (Number(weights[at]) - Number(base[at])) ** 2;
    }
  }
  return penalty;
}
