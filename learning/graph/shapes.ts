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

function matrix(op: string, shape: Shape): readonly [Dimension, number] {
  const [rows, columns] = shape;
  if (shape.length !== 2 || rows === undefined || typeof columns !== "number") {
    throw new GraphError(`${op} takes a matrix with a fixed number of columns, not [${shape}]`);
  }
  return [rows, columns];
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
      return broadcastShape(a, b);
    case "ReduceSum":
    case "ReduceMean":
    case "ReduceSumSquare":
    case "Squeeze":
      return withoutAxes(operation.op, a, operation.axes);
    case "Unsqueeze":
      return withAxes(a, operation.axes);
    case "Slice": {
      const [rows, columns] = matrix("Slice", a);
      const { start, end } = operation;
      if (start < 0 || end <= start || end > columns) throw new GraphError(`[${a}] lacks columns [${start}, ${end})`);
      return [rows, end - start];
    }
    case "Pad": {
      const [rows, columns] = matrix("Pad", a);
      return [rows, operation.before + columns + operation.after];
    }
    case "BroadcastLike":
      return b;
    case "Size":
      return [];
    default:
      return a;
  }
}
