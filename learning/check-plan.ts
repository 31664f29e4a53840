// Whether a plan's training step is what it should be: its gradient against finite differences, and inputs to try it on.
import { type Graph, partOf } from "./graph/graph.ts";
import { elements, interpret, type Tensor, tensor } from "./graph/interpret.ts";
import { BASE, WEIGHTS } from "./models/signature.ts";
import type { Manifest, WeightTensor } from "./plan.ts";
import { type Random, seededRandom } from "./random.ts";

export type Tensors = Readonly<Record<string, Tensor>>;

/** Which step of an optimiser the example is. */
export const EXAMPLE_STEP = 3;

/** Inputs of a train graph for a batch of `rows`: weights near the `initial` ones, as float32 holds them all. */
export function exampleInputs(train: Graph, initial: Float32Array, rows: number, seed: number): Tensors {
  const random = seededRandom(seed);
  const near = (values: ArrayLike<number>, by: number) => Array.from(values, (value) => value + by * random.normal());
  const rms = Math.sqrt(initial.reduce((sum, weight) => sum + weight * weight, 0) / initial.length);
  const weights = near(initial, 0.3 * rms); // more of it would drive the units of a wide layer to their ends
  const valuesOf = (name: string, length: number): number[] => {
    switch (name) {
      case WEIGHTS:
        return weights;
      case BASE:
        return near(weights, 0.3 * rms);
      case "y":
        return Array.from({ length }, () => Math.round(random.next()));
      case "lr":
        return [0.01];
      case "step":
        return [EXAMPLE_STEP];
      case "x":
        return near(new Float32Array(length), 1);
      default: // an optimiser's moment, which may have to be positive
        return Array.from({ length }, () => 0.01 * (1 + random.next()));
    }
  };
  return Object.fromEntries(
    train.inputs.map(({ name, shape }) => {
      const sizes = shape.map((size) => (typeof size === "number" ? size : rows));
      return [name, tensor(sizes, Float32Array.from(valuesOf(name, elements(sizes))))];
    }),
  );
}

/** Features of chance, [rows, featureCount]. */
export function rowsOfChance(
  { featureCount }: Pick<Manifest, "featureCount">,
  rows: number,
  seed: number,
): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: rows * featureCount }, () => random.normal());
}

export interface GradientCheck {
  /** Parameters whose derivative was compared. */
  readonly checked: number;
  /** Largest difference, as a share of the derivative or of a hundredth of the gradient's rms, whichever is larger. */
  readonly worst: number;
}

/** Steps of the central differences: a short one for losses that bend, a long one for large losses, whose rounding shows. */
const STEPS = [1e-5, 1e-3];
/** What agrees so well with the first step needs no second. */
const CLEAR = 1e-6;
const NEGLIGIBLE = 1e-2;

/**
 * Compares the value `gradient` of a train graph with central differences of its `loss` by the weights, in float64, for
 * `count` parameters of chance, and at least one of each tensor. Of several steps the one that agrees best counts.
 */
export function checkGradient(
  plan: { readonly train: Graph; readonly gradient: string; readonly layout: readonly WeightTensor[] },
  inputs: Tensors,
  count: number,
  seed: number,
): GradientCheck {
  const { [plan.gradient]: found } = interpret(partOf(plan.train, [plan.gradient]), inputs);
  const slopes = found?.data ?? new Float64Array(0);
  const rms = Math.sqrt(slopes.reduce((sum, slope) => sum + slope * slope, 0) / slopes.length);
  const lossOnly = partOf(plan.train, ["loss"]);
  const lossAt = (parameter: number, by: number) => {
    const { shape, data } = inputs[WEIGHTS] as Tensor;
    const moved = data.with(parameter, Number(data[parameter]) + by);
    return Number(interpret(lossOnly, { ...inputs, [WEIGHTS]: { shape, data: moved } }).loss?.data[0]);
  };
  const parameters = someOf(plan.layout, count, seededRandom(seed));
  const errorOf = (parameter: number, step: number) => {
    const expected = (lossAt(parameter, step) - lossAt(parameter, -step)) / (2 * step);
    const scale = Math.max(Math.abs(expected), NEGLIGIBLE * rms, 1e-9);
    return Math.abs(Number(slopes[parameter]) - expected) / scale;
  };
  const errors = parameters.map((parameter) => {
    let error = Number.POSITIVE_INFINITY;
    for (const step of STEPS) if (!(error < CLEAR)) error = Math.min(error, errorOf(parameter, step));
    return error;
  });
  return { checked: parameters.length, worst: largestOf(errors) };
}

/** Not a number if one of them is not. */
export const largestOf = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0);

/** All parameters if they are few enough, else `count` spread over the tensors. */
function someOf(layout: readonly WeightTensor[], count: number, random: Random): number[] {
  const each = Math.ceil(count / layout.length);
  const chosen = layout.flatMap(({ shape, offset }) => {
    const size = elements(shape);
    if (size <= each) return Array.from({ length: size }, (_, at) => offset + at);
    return Array.from({ length: each }, () => offset + Math.floor(size * random.next()));
  });
  return [...new Set(chosen)];
}
