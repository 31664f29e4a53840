// Every operation's gradient against central finite differences in float64.
import { expect, test } from "vitest";
import { GraphBuilder } from "../../learning/graph/builder.ts";
import { gradients } from "../../learning/graph/gradients.ts";
import { GraphError, type Shape, type Value } from "../../learning/graph/graph.ts";
import { interpret } from "../../learning/graph/interpret.ts";
import { expectClose, finiteDifferences, randomInputs } from "../support/graph-checks.ts";

type Compute = (b: GraphBuilder, x: Value, y: Value, c: Value) => Value;

const positive = (b: GraphBuilder, x: Value) => b.add(b.mul(x, x), b.constant([], [0.5]));

const cases: [string, Shape[], Compute][] = [
  ["Gemm", [["N", 3], [3, 2], [2]], (b, x, y, c) => b.gemm(x, y, { c })],
  [
    "Gemm without C",
    [
      ["N", 3],
      [3, 2],
    ],
    (b, x, y) => b.gemm(x, y),
  ],
  [
    "Gemm with A transposed",
    [
      ["N", 3],
      ["N", 2],
    ],
    (b, x, y) => b.gemm(x, y, { transA: true }),
  ],
  [
    "Gemm with B transposed",
    [
      ["N", 3],
      [2, 3],
    ],
    (b, x, y) => b.gemm(x, y, { transB: true }),
  ],
  [
    "Gemm with both transposed",
    [
      [3, 4],
      [2, 3],
      [4, 2],
    ],
    (b, x, y, c) => b.gemm(x, y, { transA: true, transB: true, c }),
  ],
  [
    "Add",
    [
      ["N", 3],
      ["N", 3],
    ],
    (b, x, y) => b.add(x, y),
  ],
  ["Add of a row", [["N", 3], [3]], (b, x, y) => b.add(x, y)],
  [
    "Sub of a column",
    [
      ["N", 3],
      ["N", 1],
    ],
    (b, x, y) => b.sub(x, y),
  ],
  ["Sub from a scalar", [[], ["N", 3]], (b, x, y) => b.sub(x, y)],
  [
    "Mul",
    [
      ["N", 3],
      ["N", 3],
    ],
    (b, x, y) => b.mul(x, y),
  ],
  ["Mul by a scalar", [["N", 3], []], (b, x, y) => b.mul(x, y)],
  ["Mul of a value by itself", [["N", 3]], (b, x) => b.mul(x, x)],
  [
    "Mul of a column and a row",
    [
      ["N", 1],
      [1, 3],
    ],
    (b, x, y) => b.mul(x, y),
  ],
  ["Div", [["N", 3], [3]], (b, x, y) => b.div(x, positive(b, y))],
  ["Neg", [["N", 3]], (b, x) => b.neg(x)],
  ["Sqrt", [["N", 3]], (b, x) => b.sqrt(positive(b, x))],
  ["Tanh", [["N", 3]], (b, x) => b.tanh(x)],
  ["Sigmoid", [["N", 3]], (b, x) => b.sigmoid(x)],
  ["Softplus", [["N", 3]], (b, x) => b.softplus(x)],
  ["ReduceSum of rows", [["N", 3]], (b, x) => b.sum(x, [0])],
  ["ReduceSum of columns", [["N", 3]], (b, x) => b.sum(x, [1])],
  ["ReduceSum of all", [["N", 3]], (b, x) => b.sum(x, [0, 1])],
  ["ReduceMean of rows", [["N", 3]], (b, x) => b.mean(x, [0])],
  ["ReduceMean of columns", [["N", 3]], (b, x) => b.mean(x, [1])],
  ["ReduceMean of all", [["N", 3]], (b, x) => b.mean(x, [0, 1])],
  ["ReduceSumSquare of rows", [["N", 3]], (b, x) => b.sumSquares(x, [0])],
  ["ReduceSumSquare of all", [["N", 3]], (b, x) => b.sumSquares(x, [0, 1])],
  ["ReduceL2 of columns", [["N", 3]], (b, x) => b.norm(x, [1])],
  ["ReduceL2 of all", [["N", 3]], (b, x) => b.norm(x, [0, 1])],
  ["Squeeze", [["N", 1]], (b, x) => b.squeeze(x, [1])],
  ["Unsqueeze", [["N"]], (b, x) => b.unsqueeze(x, [0])],
  ["Slice of columns", [["N", 5]], (b, x) => b.slice(x, 1, 1, 4)],
  ["Slice of a vector", [[5]], (b, x) => b.slice(x, 0, 2, 5)],
  ["Slice of a middle axis", [["N", 3, 2]], (b, x) => b.slice(x, 1, 1, 2)],
  ["Pad of columns", [["N", 2]], (b, x) => b.pad(x, 1, 1, 2)],
  ["Pad of a vector", [[2]], (b, x) => b.pad(x, 0, 0, 2)],
  [
    "Concat of columns",
    [
      ["N", 2],
      ["N", 1],
      ["N", 3],
    ],
    (b, x, y, c) => b.concat([x, y, c], 1),
  ],
  ["Concat of vectors", [[2], [3]], (b, x, y) => b.concat([x, y], 0)],
  ["Concat of a value with itself", [["N", 2]], (b, x) => b.concat([x, x], 1)],
  ["Reshape", [["N", 6]], (b, x) => b.reshape(x, ["N*2", 3])],
  ["Reshape to as many rows as the batch has", [["N*2", 3]], (b, x) => b.reshape(x, ["N", 3, 2])],
  ["Reshape of a matrix to a vector", [[2, 3]], (b, x) => b.reshape(x, [6])],
  ["BroadcastLike", [[3], ["N", 3]], (b, x, y) => b.broadcastLike(x, y)],
  ["Size", [["N", 3]], (b, x) => b.mul(b.size(x), x)],
];

/** A scalar in which every element of `value` counts differently, so that mixed-up elements show. */
function weigh(b: GraphBuilder, value: Value): Value {
  const curved = b.mul(value, b.tanh(b.add(value, b.constant([], [0.3]))));
  return b.sum(
    curved,
    value.shape.map((_, axis) => axis),
  );
}

/** Inputs that lend only their shape; no gradient flows to them. */
const shapeOnly: Record<string, string> = { BroadcastLike: "i1" };

test.each(cases)("the gradient of %s is what finite differences say", (name, shapes, compute) => {
  const b = new GraphBuilder();
  const inputs = shapes.map((shape, at) => b.input(`i${at}`, shape));
  const output = weigh(b, compute(b, ...(inputs as [Value, Value, Value])));
  const wrt = inputs.filter((input) => input.name !== shapeOnly[name]);
  const found = gradients(b, output, b.constant([], [-0.7]), wrt);
  for (const [at, input] of wrt.entries()) {
    const graph = b.build("test", { output, gradient: found[at] as Value });
    const given = randomInputs(graph, 4, 7);
    const { gradient } = interpret(graph, given);
    const expected = finiteDifferences(graph, "output", given, input.name).map((value) => -0.7 * value);
    expect(gradient?.shape).toEqual(given[input.name]?.shape);
    expectClose(gradient?.data ?? [], expected, 1e-8);
  }
});

test("a value that is used twice gets the sum of both gradients", () => {
  const b = new GraphBuilder();
  const x = b.input("x", []);
  const output = b.add(b.mul(x, x), b.tanh(x));
  const [dx] = gradients(b, output, b.constant([], [1]), [x]);
  const given = { x: { shape: [], data: Float64Array.of(0.4) } };
  const { d } = interpret(b.build("test", { output, d: dx as Value }), given);
  expect(d?.data[0]).toBeCloseTo(2 * 0.4 + 1 - Math.tanh(0.4) ** 2, 12);
});

test("nothing is computed for inputs whose gradient nobody wants", () => {
  const b = new GraphBuilder();
  const [x, w] = [b.input("x", ["N", 3]), b.input("w", [3, 2])];
  const output = b.sum(b.gemm(x, w), [0, 1]);
  const before = b.nodes.length;
  gradients(b, output, b.constant([], [1]), [w]);
  expect(b.nodes.slice(before).map((node) => node.op)).toEqual(["BroadcastLike", "Gemm"]);
});

test.each<[string, (b: GraphBuilder, x: Value) => Value]>([
  ["Max", (b, x) => b.max(b.tanh(x), b.neg(x))],
  ["Clip", (b, x) => b.clip(x, 1)],
  ["TopK", (b, x) => b.largest(x, 2)],
])("a gradient through %s is refused rather than taken for zero", (op, compute) => {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", 3]);
  const output = b.sum(compute(b, x), [0, 1]);
  expect(() => gradients(b, output, b.constant([], [1]), [x])).toThrow(`${op} has no gradient here`);
});

test("a seed of another shape, and a value the output does not depend on, are refused", () => {
  const b = new GraphBuilder();
  const [x, other] = [b.input("x", ["N", 3]), b.input("other", [3])];
  const output = b.sum(x, [0, 1]);
  expect(() => gradients(b, output, other, [x])).toThrow(GraphError);
  expect(() => gradients(b, output, b.constant([], [1]), [other])).toThrow("does not depend on other");
});
