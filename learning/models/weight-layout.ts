// Weight tensors one after the other in the flat vector: a graph takes and gives them as one tensor, since each tensor
// that crosses into onnxruntime costs more than the operations that take it apart.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/graph.ts";
import { type WeightTensor, weightCount } from "../plan.ts";

/** `tensors` in order, each beginning where the one before it ends. */
export function layOut(tensors: readonly Omit<WeightTensor, "offset">[]): WeightTensor[] {
  const laidOut: WeightTensor[] = [];
  for (const tensor of tensors) laidOut.push({ ...tensor, offset: weightCount(laidOut) });
  return laidOut;
}

/** The tensors of `layout` out of `flat` [P]. */
export function unpack(b: GraphBuilder, flat: Value, layout: readonly WeightTensor[]): Value[] {
  return layout.map((tensor) => {
    const part = b.slice(flat, 0, tensor.offset, tensor.offset + weightCount([tensor]));
    return tensor.shape.length === 1 ? part : b.reshape(part, tensor.shape);
  });
}

/** `tensors`, in layout order, as one vector [P]. */
export function pack(b: GraphBuilder, tensors: readonly Value[], layout: readonly WeightTensor[]): Value {
  const parts = tensors.map((tensor, at) =>
    tensor.shape.length === 1 ? tensor : b.reshape(tensor, [weightCount(layout.slice(at, at + 1))]),
  );
  return b.concat(parts, 0);
}
