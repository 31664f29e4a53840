// Seeded tensors and central finite differences for checks of graphs in float64.
import { expect } from "vitest";
import type { Dimension, Graph, Shape } from "../../learning/graph/graph.ts";
import { elements, interpret, type Tensor, tensor } from "../../learning/graph/interpret.ts";
import { seededRandom } from "../../learning/random.ts";

export type Tensors = Record<string, Tensor>;

/** Normal random tensors for the inputs of `graph`, with N = `rows`. */
export function randomInputs(graph: Graph, rows: number, seed: number): Tensors {
  const random = seededRandom(seed);
  const sizeOf = (size: Dimension) => (typeof size === "number" ? size : rows * Number(size.split("*")[1] ?? 1));
  const sizes = (shape: Shape) => shape.map(sizeOf);
  return Object.fromEntries(
    graph.inputs.map(({ name, shape }) => {
      const values = Array.from({ length: elements(sizes(shape)) }, () => random.normal());
      return [name, tensor(sizes(shape), values)];
    }),
  );
}

/** ∂(scalar output)/∂(input) by central differences. */
export function finiteDifferences(graph: Graph, output: string, inputs: Tensors, input: string): number[] {
  const h = 1e-5;
  const given = inputs[input] as Tensor;
  const evaluate = (at: number, by: number) => {
    const data = given.data.slice();
    data[at] = (data[at] as number) + by;
    return interpret(graph, { ...inputs, [input]: { ...given, data } })[output]?.data[0] as number;
  };
  return Array.from(given.data, (_, at) => (evaluate(at, h) - evaluate(at, -h)) / (2 * h));
}

/** Each within `tolerance`, relative to the larger of 1 and the expected value. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  const worst = Array.from(
    expected,
    (value, at) => Math.abs((actual[at] as number) - value) / Math.max(1, Math.abs(value)),
  );
  expect(Math.max(...worst)).toBeLessThan(tolerance);
}
