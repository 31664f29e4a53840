// Computes a graph in plain float64: obvious and not quick, the yardstick for gradients and for the ONNX encoding.
import { type Graph, GraphError, type Node } from "./graph.ts";
import { outputShape } from "./shapes.ts";

export interface Tensor {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float64Array;
}

export const elements = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);

/** `values`, row-major, as float64 in this shape. Throws GraphError for another number of them. */
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
  Max: Math.max,
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
    case "Max":
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
    case "ReduceL2":
      return tensor(shape, sums(a, node.axes, (x) => x * x).map(Math.sqrt));
    case "Squeeze":
    case "Unsqueeze":
    case "Reshape":
      return { shape, data: a.data };
    case "Slice":
      return moved(a, shape, node.axis, -node.start);
    case "Pad":
      return moved(a, shape, node.axis, node.before);
    case "Concat":
      return concat(inputs, shape, node.axis);
    case "Clip":
      return { shape, data: a.data.map((x) => Math.max(-node.limit, Math.min(node.limit, x))) };
    case "TopK":
      return largest(a, shape, node.count);
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
  const whole = elements(shape);
  if (a.data.length === whole && b.data.length === whole)
    return { shape, data: a.data.map((x, i) => f(x, Number(b.data[i]))) };
  if (a.data.length === whole && b.data.length === 1)
    return { shape, data: a.data.map((x) => f(x, Number(b.data[0]))) };
  if (b.data.length === whole && a.data.length === 1)
    return { shape, data: b.data.map((y) => f(Number(a.data[0]), y)) };
  return fill(shape, (index) => f(at(a, index), at(b, index)));
}

/** The sums of f(x) over `axes`, row-major in the axes that remain. */
function sums(a: Tensor, axes: readonly number[], f: (x: number) => number): Float64Array {
  if (axes.length === a.shape.length) return Float64Array.of(a.data.reduce((sum, x) => sum + f(x), 0));
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
  const [rows = 0, inner = 0] = a.shape;
  const columns = b.shape[1] ?? 0;
  const data = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < inner; k++) {
      const factor = Number(a.data[row * inner + k]);
      for (let column = 0; column < columns; column++) {
        const into = row * columns + column;
        data[into] = Number(data[into]) + factor * Number(b.data[k * columns + column]);
      }
    }
  }
  return { shape: [rows, columns], data };
}

/** Elements of the axes from `axis` on: they lie side by side. */
const blockOf = ({ shape }: Tensor, axis: number) => elements(shape.slice(axis));

/** Copies each block of `from` into that of `to` which has the same place before `axis`, `by` elements further on. */
function copyBlocks(from: Tensor, to: Tensor, axis: number, by: number): void {
  const [length, stride] = [blockOf(from, axis), blockOf(to, axis)];
  for (let block = 0; block * stride < to.data.length; block++) {
    const start = Math.max(0, -by);
    const end = Math.min(length, stride - by);
    const values = from.data.subarray(block * length + start, block * length + end);
    to.data.set(values, block * stride + start + by);
  }
}

/** A tensor of `shape` that holds `a` moved by `by` places along `axis`, cut off or padded with zeros. */
function moved(a: Tensor, shape: readonly number[], axis: number, by: number): Tensor {
  const result = { shape, data: new Float64Array(elements(shape)) };
  copyBlocks(a, result, axis, by * blockOf(a, axis + 1));
  return result;
}

function concat(inputs: readonly Tensor[], shape: readonly number[], axis: number): Tensor {
  const result = { shape, data: new Float64Array(elements(shape)) };
  let start = 0;
  for (const input of inputs) {
    copyBlocks(input, result, axis, start);
    start += blockOf(input, axis);
  }
  return result;
}

function largest(a: Tensor, shape: readonly number[], count: number): Tensor {
  const columns = a.shape[1] ?? 0;
  const rows = Array.from({ length: a.shape[0] ?? 0 }, (_, row) =>
    a.data
      .slice(row * columns, (row + 1) * columns)
      .sort()
      .reverse()
      .subarray(0, count),
  );
  return tensor(
    shape,
    rows.flatMap((row) => [...row]),
  );
}
