// The shape of what an operation computes; a graph whose shapes do not fit is refused while it is built.
import { type Dimension, GraphError, type Operation, type Shape } from "./graph.ts";

/** Numpy's rule, aligned at the last axis: equal sizes, or one of them 1. Throws GraphError if they do not fit. */
export function broadcastShape(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis): Dimension => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) throw new GraphError(`[${a}] and [${b}] do not broadcast`);
    return left === 1 ? right : left;
  });
}

/** The axes of `to` along which a tensor of shape `from` is repeated when it is broadcast to `to`. */
export function broadcastAxes(from: Shape, to: Shape): number[] {
  const missing = to.length - from.length;
  return to.flatMap((size, axis) => (axis < missing || (from[axis - missing] === 1 && size !== 1) ? [axis] : []));
}

function gemmShape(operation: Operation & { op: "Gemm" }, a: Shape, b: Shape, c: Shape | undefined): Shape {
  if (a.length !== 2 || b.length !== 2) throw new GraphError(`Gemm takes matrices, not [${a}] and [${b}]`);
  const [rows, inner] = operation.transA ? [a[1], a[0]] : a;
  const [otherInner, columns] = operation.transB ? [b[1], b[0]] : b;
  if (inner !== otherInner) throw new GraphError(`Gemm cannot multiply [${a}] and [${b}]`);
  const product = [rows as Dimension, columns as Dimension];
  if (c && broadcastShape(c, product).length !== 2) throw new GraphError(`Gemm cannot add [${c}] to [${product}]`);
  return product;
}

function fixedSize(op: string, shape: Shape, axis: number): number {
  const size = shape[axis];
  if (typeof size !== "number") throw new GraphError(`${op}: axis ${axis} of [${shape}] has no fixed size`);
  return size;
}

function concatShape(inputs: readonly Shape[], axis: number): Shape {
  const [first = []] = inputs;
  const alike = (shape: Shape) =>
    shape.length === first.length && shape.every((size, at) => at === axis || size === first[at]);
  if (!inputs.every(alike)) throw new GraphError(`Concat: ${inputs.map((shape) => `[${shape}]`)} do not fit`);
  const size = inputs.reduce((sum, shape) => sum + fixedSize("Concat", shape, axis), 0);
  return first.with(axis, size);
}

/** How many times N and how many fixed elements a shape has; a fixed shape has 0 times N. */
function volume(shape: Shape): { readonly perRow: boolean; readonly elements: number } {
  const symbols = shape.filter((size) => typeof size === "string");
  if (symbols.length > 1) throw new GraphError(`[${shape}] holds N more than once`);
  const factor = (size: Dimension) => (typeof size === "number" ? size : Number(size.split("*")[1] ?? 1));
  return { perRow: symbols.length === 1, elements: shape.reduce<number>((product, size) => product * factor(size), 1) };
}

/** Sizes that are known now (the interpreter's shapes hold no N) take the place of the symbolic one. */
function reshaped(from: Shape, to: Shape): Shape {
  const [have, want] = [volume(from), volume(to)];
  if (!have.perRow && want.perRow) {
    const fixed = to.reduce<number>((product, size) => product * (typeof size === "number" ? size : 1), 1);
    if (have.elements % fixed === 0) return to.map((size) => (typeof size === "number" ? size : have.elements / fixed));
  }
  if (have.perRow !== want.perRow || have.elements !== want.elements)
    throw new GraphError(`[${from}] cannot take the shape [${to}]`);
  return to;
}

function withoutAxes(op: string, shape: Shape, axes: readonly number[]): Shape {
  if (axes.some((axis) => axis < 0 || axis >= shape.length))
    throw new GraphError(`${op}: [${shape}] lacks axes ${axes}`);
  return shape.filter((_, axis) => !axes.includes(axis));
}

function withAxes(shape: Shape, axes: readonly number[]): Shape {
  const kept = [...shape];
  return Array.from({ length: shape.length + axes.length }, (_, axis) =>
    axes.includes(axis) ? 1 : (kept.shift() as Dimension),
  );
}

/** Throws GraphError if `operation` cannot take inputs of these shapes. */
export function outputShape(operation: Operation, inputs: readonly Shape[]): Shape {
  const [a, b, c] = inputs as [Shape, Shape, Shape | undefined];
  switch (operation.op) {
    case "Gemm":
      return gemmShape(operation, a, b, c);
    case "Add":
    case "Sub":
    case "Mul":
    case "Div":
    case "Max":
      return broadcastShape(a, b);
    case "ReduceSum":
    case "ReduceMean":
    case "ReduceSumSquare":
    case "ReduceL2":
    case "Squeeze":
      return withoutAxes(operation.op, a, operation.axes);
    case "Unsqueeze":
      return withAxes(a, operation.axes);
    case "Slice": {
      const { axis, start, end } = operation;
      const size = fixedSize("Slice", a, axis);
      if (start < 0 || end <= start || end > size)
        throw new GraphError(`[${a}] lacks elements [${start}, ${end}) of axis ${axis}`);
      return a.with(axis, end - start);
    }
    case "Pad": {
      const { axis, before, after } = operation;
      return a.with(axis, before + fixedSize("Pad", a, axis) + after);
    }
    case "Concat":
      return concatShape(inputs, operation.axis);
    case "Reshape":
      return reshaped(a, operation.shape);
    case "TopK": {
      const columns = fixedSize("TopK", a, 1);
      if (a.length !== 2 || operation.count > columns)
        throw new GraphError(`[${a}] does not have ${operation.count} columns`);
      return a.with(1, operation.count);
    }
    case "BroadcastLike":
      return b;
    case "Size":
      return [];
    default:
      return a;
  }
}
