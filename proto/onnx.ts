// Graphs in the ONNX file format: IR version 8, operator set 17, float32 throughout.
import type { Constant, Graph, Node, Shape, Value } from "../learning/graph/graph.ts";
import type { NodeProto, TensorProto, ValueInfoProto } from "./gen/onnx/onnx.ts";
import { AttributeProto_AttributeType as Attribute, type AttributeProto, ModelProto } from "./gen/onnx/onnx.ts";

export const IR_VERSION = 8n;
export const OPERATOR_SET = 17n;
const FLOAT = 1;
const INT64 = 7;

/** The same graph gives the same bytes. */
export function encodeOnnx(graph: Graph): Uint8Array {
  const nodes = graph.nodes.map(lower);
  const model: ModelProto = {
    irVersion: IR_VERSION,
    producerName: "flead",
    opsetImport: [{ domain: "", version: OPERATOR_SET }],
    graph: {
      name: graph.name,
      input: graph.inputs.map(valueInfo),
      output: graph.outputs.map(valueInfo),
      initializer: [...graph.constants.map(floatTensor), ...nodes.flatMap((lowered) => lowered.constants)],
      node: nodes.flatMap((lowered) => lowered.nodes),
    },
  };
  return ModelProto.encode(model).finish();
}

/** The model with one of its inputs fixed to `values`, a float tensor of that input's shape. Throws OnnxError without it. */
export function fixInput(bytes: Uint8Array, name: string, values: Float32Array): Uint8Array {
  const model = ModelProto.decode(bytes);
  const fixed = model.graph?.input.find((input) => input.name === name);
  if (!model.graph || !fixed) throw new OnnxError(`it has no input ${name}`);
  const dims = fixed.type?.value?.value.shape?.dim.map(({ value }) => (value?.$case === "dimValue" ? value.value : 0n));
  const size = dims?.reduce((product, dim) => product * dim, 1n);
  if (size !== BigInt(values.length)) throw new OnnxError(`its input ${name} does not take ${values.length} values`);
  model.graph.input = model.graph.input.filter((input) => input !== fixed);
  model.graph.initializer.push(floatTensor({ name, shape: dims?.map(Number) ?? [], values: [...values] }));
  return ModelProto.encode(model).finish();
}

export class OnnxError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "OnnxError";
  }
}

/**
 * Throws unless `bytes` is a model within the subset that FLEAD writes (standard operators, no external data, no
 * subgraphs) whose inputs and outputs are these, in any order.
 */
export function checkOnnx(bytes: Uint8Array, expected: Pick<Graph, "inputs" | "outputs">): void {
  const model = ModelProto.decode(bytes);
  if (!model.graph) throw new OnnxError("it holds no graph");
  // Decoding drops every field outside the subset, so what comes back whole was within it.
  if (!Buffer.from(ModelProto.encode(model).finish()).equals(bytes)) {
    throw new OnnxError("it holds fields that FLEAD does not write");
  }
  if ([...model.opsetImport, ...model.graph.node].some(({ domain }) => domain !== "")) {
    throw new OnnxError("it uses operators outside the standard domain");
  }
  checkValues("inputs", model.graph.input, expected.inputs);
  checkValues("outputs", model.graph.output, expected.outputs);
}

function checkValues(kind: string, actual: readonly ValueInfoProto[], expected: readonly Value[]): void {
  const describe = (values: readonly ValueInfoProto[]) => values.map(describeValue).sort().join(", ");
  const [found, wanted] = [describe(actual), describe(expected.map(valueInfo))];
  if (found !== wanted)
    throw new OnnxError(`its ${kind} are ${found.slice(0, 300)}; they must be ${wanted.slice(0, 300)}`);
}

function describeValue({ name, type }: ValueInfoProto): string {
  const tensor = type?.value?.value;
  const sizes = tensor?.shape?.dim.map((size) => String(size.value?.value));
  return `${name} ${tensor?.elemType === FLOAT ? "float" : "other"}[${sizes ?? "?"}]`;
}

/** What one node of ours is in ONNX; `constants` are the constant inputs that operator set 17 wants. */
interface Lowered {
  readonly nodes: readonly NodeProto[];
  readonly constants: readonly TensorProto[];
}

function lower(node: Node): Lowered {
  const out = node.output.name;
  const [first = "", second = ""] = node.inputs;
  const index = (name: string, values: readonly number[]) => indexTensor(`${out}.${name}`, values);
  const withConstants = (opType: string, constants: TensorProto[], attributes: AttributeProto[] = []): Lowered => ({
    nodes: [nodeProto(opType, [first, ...constants.map(({ name }) => name)], out, attributes)],
    constants,
  });
  switch (node.op) {
    case "Gemm":
      return single(node, [intAttribute("transA", Number(node.transA)), intAttribute("transB", Number(node.transB))]);
    case "ReduceSum":
      return withConstants(node.op, [index("axes", node.axes)], [intAttribute("keepdims", 0)]);
    case "ReduceMean":
    case "ReduceSumSquare":
    case "ReduceL2":
      return single(node, [intsAttribute("axes", node.axes), intAttribute("keepdims", 0)]);
    case "Squeeze":
    case "Unsqueeze":
      return withConstants(node.op, [index("axes", node.axes)]);
    case "Slice":
      return withConstants(node.op, [
        index("starts", [node.start]),
        index("ends", [node.end]),
        index("axes", [node.axis]),
      ]);
    case "Pad": {
      const along = (size: number) => node.output.shape.map((_, axis) => (axis === node.axis ? size : 0));
      return withConstants(node.op, [index("pads", [...along(node.before), ...along(node.after)])]);
    }
    case "Concat":
      return single(node, [intAttribute("axis", node.axis)]);
    case "Reshape":
      return withConstants(node.op, [
        index(
          "shape",
          node.shape.map((size) => (typeof size === "number" ? size : -1)),
        ),
      ]);
    case "Clip": {
      const limit = (name: string, value: number) =>
        floatTensor({ name: `${out}.${name}`, shape: [], values: [value] });
      return withConstants(node.op, [limit("min", -node.limit), limit("max", node.limit)]);
    }
    case "TopK": {
      const count = index("k", [node.count]);
      const values = nodeProto(node.op, [first, count.name], out);
      return { nodes: [{ ...values, output: [out, `${out}.places`] }], constants: [count] };
    }
    case "BroadcastLike": {
      const shape = nodeProto("Shape", [second], `${out}.shape`);
      return { nodes: [shape, nodeProto("Expand", [first, `${out}.shape`], out)], constants: [] };
    }
    case "Size": {
      const cast = nodeProto("Cast", [`${out}.size`], out, [intAttribute("to", FLOAT)]);
      return { nodes: [nodeProto("Size", [first], `${out}.size`), cast], constants: [] };
    }
    default:
      return single(node);
  }
}

function single(node: Node, attributes: AttributeProto[] = []): Lowered {
  return { nodes: [nodeProto(node.op, node.inputs, node.output.name, attributes)], constants: [] };
}

export function nodeProto(
  opType: string,
  input: readonly string[],
  output: string,
  attribute: AttributeProto[] = [],
): NodeProto {
  return { opType, input: [...input], output: [output], name: output, attribute, domain: "" };
}

export const noAttribute = { f: 0, i: 0n, s: Buffer.alloc(0), floats: [], ints: [], strings: [] };

export function intAttribute(name: string, value: number): AttributeProto {
  return { ...noAttribute, name, i: BigInt(value), type: Attribute.INT };
}

export function intsAttribute(name: string, values: readonly number[]): AttributeProto {
  return { ...noAttribute, name, ints: values.map(BigInt), type: Attribute.INTS };
}

export function floatTensor({ name, shape, values }: Constant): TensorProto {
  const rawData = Buffer.alloc(values.length * 4);
  for (const [at, value] of values.entries()) rawData.writeFloatLE(value, at * 4);
  return { name, dims: shape.map(BigInt), dataType: FLOAT, rawData };
}

export function indexTensor(name: string, values: readonly number[]): TensorProto {
  const rawData = Buffer.alloc(values.length * 8);
  for (const [at, value] of values.entries()) rawData.writeBigInt64LE(BigInt(value), at * 8);
  return { name, dims: [BigInt(values.length)], dataType: INT64, rawData };
}

export function valueInfo({ name, shape }: Value): ValueInfoProto {
  return { name, type: { value: { $case: "tensorType", value: { elemType: FLOAT, shape: shapeProto(shape) } } } };
}

function shapeProto(shape: Shape) {
  return {
    dim: shape.map((size) => ({
      value:
        typeof size === "number"
          ? { $case: "dimValue" as const, value: BigInt(size) }
          : { $case: "dimParam" as const, value: size },
    })),
  };
}
