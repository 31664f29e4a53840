// Computation graphs as plain data: float tensors, nodes in the order they are computed, one symbolic dimension "N".

/** A fixed size, "N", the number of rows of the batch, or a multiple of it; the latter two at most once in a shape. */
export type Dimension = number | "N" | `N*${number}`;
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
  | { readonly op: "Add" | "Sub" | "Mul" | "Div" | "Max" }
  | { readonly op: "Neg" | "Sqrt" | "Tanh" | "Sigmoid" | "Softplus" }
  /** The reduced axes disappear from the shape. */
  | { readonly op: "ReduceSum" | "ReduceMean" | "ReduceSumSquare" | "ReduceL2"; readonly axes: readonly number[] }
  | { readonly op: "Squeeze" | "Unsqueeze"; readonly axes: readonly number[] }
  /** Elements [start, end) along an axis of fixed size. */
  | { readonly op: "Slice"; readonly axis: number; readonly start: number; readonly end: number }
  /** With this many zeros before and after along an axis of fixed size. */
  | { readonly op: "Pad"; readonly axis: number; readonly before: number; readonly after: number }
  /** The inputs side by side along an axis of fixed size. */
  | { readonly op: "Concat"; readonly axis: number }
  /** The same elements, row-major, in another shape. */
  | { readonly op: "Reshape"; readonly shape: Shape }
  /** No element below −limit or above limit. */
  | { readonly op: "Clip"; readonly limit: number }
  /** The `count` largest elements of each row of a matrix, the largest first. */
  | { readonly op: "TopK"; readonly count: number }
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

/** What of `graph` it takes to compute these of its values, which become the outputs. Throws GraphError for an unknown one. */
export function partOf(graph: Graph, values: readonly string[]): Graph {
  const given = new Map([...graph.inputs, ...graph.constants].map((value) => [value.name, value]));
  const computed = new Map(graph.nodes.map((node) => [node.output.name, node.output]));
  const outputs = values.map((name) => {
    const output = computed.get(name) ?? given.get(name);
    if (!output) throw new GraphError(`the graph has no value ${name}`);
    return output;
  });
  const needed = new Set(values);
  for (const node of graph.nodes.toReversed()) {
    if (needed.has(node.output.name)) for (const name of node.inputs) needed.add(name);
  }
  return { ...graph, outputs, nodes: graph.nodes.filter((node) => needed.has(node.output.name)) };
}
