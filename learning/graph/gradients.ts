// Reverse-mode differentiation: walks a graph backwards and writes, as further nodes of it, the gradient of one value.
// Griewank and Walther, Evaluating Derivatives (2008), chapter 3.
import type { GraphBuilder } from "./builder.ts";
import { GraphError, type Node, type OperationName, sameShape, type Value } from "./graph.ts";
import { broadcastAxes } from "./shapes.ts";

/**
 * The gradients of `output` with respect to each of `wrt`, times `seed`; each has the shape of its value. A seed of one
 * gives the gradients themselves; a seed of −lr gives the steps of gradient descent without a further multiplication.
 * `seed` has the shape of `output`. Throws GraphError if `output` does not depend on one of `wrt`, or does so through an
 * operation whose gradient is not written here.
 */
export function gradients(b: GraphBuilder, output: Value, seed: Value, wrt: readonly Value[]): Value[] {
  if (!sameShape(output.shape, seed.shape)) throw new GraphError(`seed [${seed.shape}] is not like [${output.shape}]`);
  const forward = [...b.nodes];
  const depends = dependents(forward, wrt);
  const gradientOf = new Map([[output.name, seed]]);
  for (const node of forward.reverse()) {
    const gradient = gradientOf.get(node.output.name);
    if (!gradient || !depends.has(node.output.name)) continue;
    const inputs = node.inputs.map((name) => b.value(name));
    inputs.forEach((input, at) => {
      const term = depends.has(input.name) ? termsOf(b, node, inputs, gradient)[at] : undefined;
      if (!term) return;
      const sum = gradientOf.get(input.name);
      gradientOf.set(input.name, sum ? b.add(sum, term()) : term());
    });
  }
  return wrt.map((value) => {
    const gradient = gradientOf.get(value.name);
    if (!gradient) throw new GraphError(`${output.name} does not depend on ${value.name}`);
    return gradient;
  });
}

/** Names of all values that change when `values` do, and of these themselves. */
function dependents(nodes: readonly Node[], values: readonly Value[]): Set<string> {
  const found = new Set(values.map((value) => value.name));
  for (const node of nodes) {
    if (node.op !== "Size" && node.inputs.some((name) => found.has(name))) found.add(node.output.name);
  }
  return found;
}

/** One for each input that has a gradient; called only for the inputs whose gradient is wanted, so that no needless node is written. */
type Terms = (() => Value)[];

/** `x`, `y`, `c`: the node's inputs, as `all`; `out`: what it computed; `d`: the gradient of its output. */
type Rule<Name extends OperationName> = (
  b: GraphBuilder,
  given: {
    x: Value;
    y: Value;
    c: Value | undefined;
    all: readonly Value[];
    out: Value;
    d: Value;
    node: Node & { op: Name };
  },
) => Terms;

function termsOf(b: GraphBuilder, node: Node, inputs: readonly Value[], d: Value): Terms {
  const [x, y, c] = inputs as [Value, Value, Value | undefined];
  const rule = rules[node.op] as Rule<OperationName>;
  return rule(b, { x, y, c, all: inputs, out: node.output, d, node });
}

/** The gradient of a value that was broadcast: the sum over all places it was repeated to. */
function sumTo(b: GraphBuilder, d: Value, value: Value): Value {
  const axes = broadcastAxes(value.shape, d.shape);
  if (axes.length === 0) return d;
  const missing = d.shape.length - value.shape.length;
  const ones = axes.filter((axis) => axis >= missing).map((axis) => axis - missing);
  const sum = b.sum(d, axes);
  return ones.length > 0 ? b.unsqueeze(sum, ones) : sum;
}

const sizeOf = (value: Value, axis: number) => value.shape[axis] as number;

/** For operations that no loss here is made of: a gradient of zero would be a mistake that nobody sees. */
function refusals(op: OperationName, inputs: number): Terms {
  return Array.from({ length: inputs }, () => () => {
    throw new GraphError(`${op} has no gradient here`);
  });
}

/** The inverse of a reduction over `axes`: every element reduced gets the gradient of its sum. */
function spread(b: GraphBuilder, d: Value, axes: readonly number[]): Value {
  return d.shape.length > 0 ? b.unsqueeze(d, axes) : d;
}

const rules: { readonly [Name in OperationName]: Rule<Name> } = {
  // Y = A'·B' + C: dA' = dY·B'ᵀ, dB' = A'ᵀ·dY, written without a transposition where Gemm's own flags do.
  Gemm: (b, { x, y, c, d, node: { transA, transB } }) => [
    () => (transA ? b.gemm(y, d, { transA: transB, transB: true }) : b.gemm(d, y, { transB: !transB })),
    () => (transB ? b.gemm(d, x, { transA: true, transB: transA }) : b.gemm(x, d, { transA: !transA })),
    () => sumTo(b, d, c as Value),
  ],
  Add: (b, { x, y, d }) => [() => sumTo(b, d, x), () => sumTo(b, d, y)],
  Sub: (b, { x, y, d }) => [() => sumTo(b, d, x), () => b.neg(sumTo(b, d, y))],
  Mul: (b, { x, y, d }) => [() => sumTo(b, b.mul(d, y), x), () => sumTo(b, b.mul(d, x), y)],
  Div: (b, { x, y, out, d }) => [() => sumTo(b, b.div(d, y), x), () => b.neg(sumTo(b, b.div(b.mul(d, out), y), y))],
  Neg: (b, { d }) => [() => b.neg(d)],
  Sqrt: (b, { out, d }) => [() => b.div(d, b.add(out, out))],
  Tanh: (b, { out, d }) => [() => b.sub(d, b.mul(d, b.mul(out, out)))],
  Sigmoid: (b, { out, d }) => [() => b.mul(d, b.sub(out, b.mul(out, out)))],
  Softplus: (b, { x, d }) => [() => b.mul(d, b.sigmoid(x))],
  ReduceSum: (b, { x, d, node }) => [() => b.broadcastLike(spread(b, d, node.axes), x)],
  ReduceMean: (b, { x, out, d, node }) => [
    () => b.broadcastLike(spread(b, b.div(b.mul(d, b.size(out)), b.size(x)), node.axes), x),
  ],
  ReduceSumSquare: (b, { x, d, node }) => [() => b.mul(x, spread(b, b.add(d, d), node.axes))],
  ReduceL2: (b, { x, out, d, node }) => [() => b.mul(x, spread(b, b.div(d, out), node.axes))],
  Squeeze: (b, { d, node }) => [() => b.unsqueeze(d, node.axes)],
  Unsqueeze: (b, { d, node }) => [() => b.squeeze(d, node.axes)],
  Slice: (b, { x, d, node }) => [() => b.pad(d, node.axis, node.start, sizeOf(x, node.axis) - node.end)],
  Pad: (b, { x, d, node }) => [() => b.slice(d, node.axis, node.before, node.before + sizeOf(x, node.axis))],
  Concat: (b, { all, d, node: { axis } }) => {
    let end = 0;
    return all.map((part) => {
      const start = end;
      end += sizeOf(part, axis);
      return () => b.slice(d, axis, start, start + sizeOf(part, axis));
    });
  },
  Reshape: (b, { x, d }) => [() => b.reshape(d, x.shape)],
  Max: () => refusals("Max", 2),
  Clip: () => refusals("Clip", 1),
  TopK: () => refusals("TopK", 1),
  BroadcastLike: (b, { x, d }) => [() => sumTo(b, d, x)],
  Size: () => [],
};
