// Computation graphs as plain data: float tensors, nodes in the order they are computed, one symbolic dimension "N".

/** A fixed size, or "N", the number of rows of the batch. */
export type Dimension = number | "N";
export type Shape = readonly Dimension[];

export interface Value {
  readonly name: string;
  readonly shape: Shape;
}

/** A value that is part of the graph. */
export interface Constant extends Value {
  readonly values: readonly number[];
}

/** Operations mean what ONNX operator set 17 means by these names, with what is said here. */
export type Operation =
  /** op(A)·op(B) [+ C], where op transposes if asked; C is broadcast. */
  | { readonly op: "Gemm"; readonly transA: boolean; readonly transB: boolean }
  | { readonly op: "Add" | "Sub" | "Mul" | "Div" }
  | { readonly op: "Neg" | "Sqrt" | "Tanh" | "Sigmoid" | "Softplus" }
  /** The reduced axes disappear from the shape. */
  | { readonly op: "ReduceSum" | "ReduceMean" | "ReduceSumSquare"; readonly axes: readonly number[] }
  | { readonly op: "Squeeze" | "Unsqueeze"; readonly axes: readonly number[] }
  /** Columns [start, end) of a matrix. */
  | { readonly op: "Slice"; readonly start: number; readonly end: number }
  /** A matrix with this many zero columns before and after. */
  | { readonly op: "Pad"; readonly before: number; readonly after: number }
  /** The first input, broadcast to the shape of the second (ONNX: Shape, Expand). */
  | { readonly op: "BroadcastLike" }
  /** The number of elements of the input, as a float scalar (ONNX: Size, Cast). */
  | { readonly op: "Size" };

export type OperationName = Operation["op"];

export type Node = Operation & {
  /** Names of graph inputs, constants or outputs of earlier nodes. */
  readonly inputs: readonly string[];
  readonly output: Value;
};

export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly constants: readonly Constant[];
  readonly nodes: readonly Node[];
}

export class GraphError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "GraphError";
  }
}

export const sameShape = (a: Shape, b: Shape) => a.length === b.length && a.every((size, axis) => size === b[axis]);
