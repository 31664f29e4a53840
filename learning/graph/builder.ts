// Writes a graph node by node; every method adds one node and returns the value that it computes.
import { type Constant, type Graph, GraphError, type Node, type Operation, type Shape, type Value } from "./graph.ts";
import { outputShape } from "./shapes.ts";

export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #constants: Constant[] = [];
  readonly #nodes: Node[] = [];
  readonly #values = new Map<string, Value>();

  /** Inputs appear in the graph in the order of these calls. Throws GraphError if the name is taken. */
  input(name: string, shape: Shape): Value {
    const input = this.#register({ name, shape });
    this.#inputs.push(input);
    return input;
  }

  constant(shape: Shape, values: readonly number[]): Value {
    const constant = { name: `c${this.#constants.length + 1}`, shape, values };
    this.#constants.push(constant);
    return this.#register(constant);
  }

  apply(operation: Operation, ...inputs: Value[]): Value {
    const shape = outputShape(
      operation,
      inputs.map((input) => input.shape),
    );
    const output = this.#register({ name: `t${this.#nodes.length + 1}`, shape });
    this.#nodes.push({ ...operation, inputs: inputs.map((input) => input.name), output });
    return output;
  }

  /** `a`·`b` + `c`; the options transpose `a` or `b` first. */
  gemm(a: Value, b: Value, { c, transA = false, transB = false }: GemmOptions = {}): Value {
    return this.apply({ op: "Gemm", transA, transB }, a, b, ...(c ? [c] : []));
  }
  add = (a: Value, b: Value) => this.apply({ op: "Add" }, a, b);
  sub = (a: Value, b: Value) => this.apply({ op: "Sub" }, a, b);
  mul = (a: Value, b: Value) => this.apply({ op: "Mul" }, a, b);
  div = (a: Value, b: Value) => this.apply({ op: "Div" }, a, b);
  max = (a: Value, b: Value) => this.apply({ op: "Max" }, a, b);
  neg = (a: Value) => this.apply({ op: "Neg" }, a);
  sqrt = (a: Value) => this.apply({ op: "Sqrt" }, a);
  tanh = (a: Value) => this.apply({ op: "Tanh" }, a);
  sigmoid = (a: Value) => this.apply({ op: "Sigmoid" }, a);
  /** ln(1 + exp(a)) */
  softplus = (a: Value) => this.apply({ op: "Softplus" }, a);
  sum = (a: Value, axes: readonly number[]) => this.apply({ op: "ReduceSum", axes }, a);
  mean = (a: Value, axes: readonly number[]) => this.apply({ op: "ReduceMean", axes }, a);
  sumSquares = (a: Value, axes: readonly number[]) => this.apply({ op: "ReduceSumSquare", axes }, a);
  norm = (a: Value, axes: readonly number[]) => this.apply({ op: "ReduceL2", axes }, a);
  squeeze = (a: Value, axes: readonly number[]) => this.apply({ op: "Squeeze", axes }, a);
  unsqueeze = (a: Value, axes: readonly number[]) => this.apply({ op: "Unsqueeze", axes }, a);
  slice = (a: Value, axis: number, start: number, end: number) => this.apply({ op: "Slice", axis, start, end }, a);
  pad = (a: Value, axis: number, before: number, after: number) => this.apply({ op: "Pad", axis, before, after }, a);
  concat = (parts: readonly Value[], axis: number) => this.apply({ op: "Concat", axis }, ...parts);
  reshape = (a: Value, shape: Shape) => this.apply({ op: "Reshape", shape }, a);
  clip = (a: Value, limit: number) => this.apply({ op: "Clip", limit }, a);
  largest = (a: Value, count: number) => this.apply({ op: "TopK", count }, a);
  broadcastLike = (a: Value, like: Value) => this.apply({ op: "BroadcastLike" }, a, like);
  size = (a: Value) => this.apply({ op: "Size" }, a);

  get nodes(): readonly Node[] {
    return this.#nodes;
  }

  /** The value of this name. Throws GraphError if there is none. */
  value(name: string): Value {
    const value = this.#values.get(name);
    if (!value) throw new GraphError(`the graph has no value ${name}`);
    return value;
  }

  /** The graph whose outputs carry the keys of `outputs` as names, in their order; an output is computed by a node. */
  build(name: string, outputs: Readonly<Record<string, Value>>): Graph {
    const renamed = new Map(Object.entries(outputs).map(([key, value]) => [value.name, key]));
    if (renamed.size < Object.keys(outputs).length) throw new GraphError("two outputs are the same value");
    const rename = (old: string) => renamed.get(old) ?? old;
    for (const given of [...this.#inputs, ...this.#constants]) {
      if (renamed.has(given.name)) throw new GraphError(`output ${rename(given.name)} is computed by no node`);
    }
    return {
      name,
      inputs: this.#inputs,
      outputs: Object.entries(outputs).map(([key, value]) => ({ name: key, shape: value.shape })),
      constants: this.#constants,
      nodes: this.#nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(rename),
        output: { ...node.output, name: rename(node.output.name) },
      })),
    };
  }

  #register<V extends Value>(value: V): V {
    if (this.#values.has(value.name)) throw new GraphError(`the name ${value.name} is taken`);
    this.#values.set(value.name, value);
    return value;
  }
}

export interface GemmOptions {
  readonly c?: Value;
  readonly transA?: boolean;
  readonly transB?: boolean;
}
