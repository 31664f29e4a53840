// Weight tensors one after the other in the flat vector.
import { type WeightTensor, weightCount } from "../plan.ts";

/** `tensors` in order, each beginning where the one before it ends. */
export function layOut(tensors: readonly Omit<WeightTensor, "offset">[]): WeightTensor[] {
  const laidOut: WeightTensor[] = [];
  for (const tensor of tensors) laidOut.push({ ...tensor, offset: weightCount(laidOut) });
  return laidOut;
}
