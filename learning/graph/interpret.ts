// Computes a graph in plain float64: slow and obvious, the yardstick for gradients and for the ONNX encoding.
import { type Graph, GraphError, type Node } from "./graph.ts";
import { outputShape } from "./shapes.ts";

export interface Tensor {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float64Array;
}

export const elements = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

export function tensor(shape: readonly number[], values: ArrayLike<number>): Tensor {
  if (values.length !== elements(shape)) throw new GraphError(`${values.length} values do not fill [${shape}]`);
  return { shape, data: Float64Array.from(values) };
}

/** The outputs of `graph` by name, given its inputs by name. Throws GraphError for a missing input. */
export function interpret(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const computed = new Map(Object.entries(inputs));
  for (const { name, shape, values } of graph.constants) computed.set(name, tensor(shape as number[], values));
  const read = (name: string): Tensor => {
    const found = computed.get(name);
    if (!found) throw new GraphError(`no value for ${name}`);
    return found;
  };
  for (const node of graph.nodes) computed.set(node.output.name, compute(node, node.inputs.map(read)));
  return Object.fromEntries(graph.outputs.map(({ name }) => [name, read(name)]));
}

const unary = {
  Neg: (x: number) => -x,
  Sqrt: Math.sqrt,
  Tanh: Math.tanh,
  Sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  Softplus: (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
};

const binary = {
  Add: (x: number, y: number) => x + y,
  Sub: (x: number, y: number) => x - y,
  Mul: (x: number, y: number) => x * y,
  Div: (x: number, y: number) => x / y,
};

function compute(node: Node, inputs: readonly Tensor[]): Tensor {
  const [a, b, c] = inputs as [Tensor, Tensor, Tensor | undefined];
  const shape = outputShape(
    node,
    inputs.map((input) => input.shape),
  ) as readonly number[];
  switch (node.op) {
    case "Gemm": {
      const product = matrixProduct(node.transA ? transposed(a) : a, node.transB ? transposed(b) : b);
      return c ? elementwise(shape, product, c, binary.Add) : product;
    }
    case "Add":
    case "Sub":
    case "Mul":
    case "Div":
      return elementwise(shape, a, b, binary[node.op]);
    case "Neg":
    case "Sqrt":
    case "Tanh":
    case "Sigmoid":
    case "Softplus": {
      const f = unary[node.op];
      return { shape, data: a.data.map((x) => f(x)) };
    }
    case "ReduceSum":
      return tensor(
        shape,
        sums(a, node.axes, (x) => x),
      );
    case "ReduceMean":
      return tensor(
        shape,
        sums(a, node.axes, (x) => (x * elements(shape)) / a.data.length),
      );
    case "ReduceSumSquare":
      return tensor(
        shape,
        sums(a, node.axes, (x) => x * x),
      );
    case "Squeeze":
    case "Unsqueeze":
      return { shape, data: a.data };
    case "Slice":
      return columns(a, shape, node.start);
    case "Pad":
      return columns(a, shape, -node.before);
    case "BroadcastLike":
      return fill(shape, (index) => at(a, index));
    case "Size":
      return tensor(shape, [a.data.length]);
  }
}

/** A tensor of `shape` whose element at each index is `value(index)`. */
function fill(shape: readonly number[], value: (index: readonly number[]) => number): Tensor {
  const data = new Float64Array(elements(shape));
  const index = shape.map(() => 0);
  for (let at = 0; at < data.length; at++) {
    data[at] = value(index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      index[axis] = next === shape[axis] ? 0 : next;
      if (index[axis] !== 0) break;
    }
  }
  return { shape, data };
}

/** The element at `index`, aligned at the last axis; an axis of size 1 is repeated. */
function at({ shape, data }: Tensor, index: readonly number[]): number {
  const missing = index.length - shape.length;
  const flat = shape.reduce((sum, size, axis) => sum * size + (size === 1 ? 0 : (index[axis + missing] ?? 0)), 0);
  return data[flat] ?? Number.NaN;
}

function elementwise(shape: readonly number[], a: Tensor, b: Tensor, f: (x: number, y: number) => number): Tensor {
  return fill(shape, (index) => f(at(a, index), at(b, index)));
}

/** The sums of f(x) over `axes`, row-major in the axes that remain. */
function sums(a: Tensor, axes: readonly number[], f: (x: number) => number): Float64Array {
  const kept = a.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const totals = new Float64Array(elements(kept));
  const places = fill(kept, () => 0);
  for (let place = 0; place < totals.length; place++) places.data[place] = place;
  fill(a.shape, (index) => {
    const place = at(places, index);
    totals[place] = (totals[place] ?? 0) + f(at(a, index));
    return 0;
  });
  return totals;
}

function transposed(a: Tensor): Tensor {
  return fill([...a.shape].reverse(), ([row = 0, column = 0]) => at(a, [column, row]));
}

function matrixProduct(a: Tensor, b: Tensor): Tensor {
  return fill([a.shape[0] ?? 0, b.shape[1] ?? 0], ([row = 0, column = 0]) => {
    let sum = 0;
    for (let inner = 0; inner < (a.shape[1] ?? 0); inner++) sum += at(a, [row, inner]) * at(b, [inner, column]);
    return sum;
  });
}

/** A matrix of `shape` whose column j is column j + `shift` of `a`, or zero where there is none. */
function columns(a: Tensor, shape: readonly number[], shift: number): Tensor {
  const exists = (column: number) => column >= 0 && column < (a.shape[1] ?? 0);
  return fill(shape, ([row = 0, column = 0]) => (exists(column + shift) ? at(a, [row, column + shift]) : 0));
}
