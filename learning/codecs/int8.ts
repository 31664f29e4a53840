// int8, symmetric with one scale per tensor: the T scales (float32), then P values (int8), little-endian, in layout order.
import { type WeightTensor, weightCount } from "../plan.ts";
import { expectLength, viewOf } from "./bytes.ts";
import { UndecodableDeltaError } from "./errors.ts";

/** Values are −127 … 127 times the scale; −128 is never written. */
const STEPS = 127;
/** 127 × 2¹²¹ is within float32; a value beyond it is cut there, and the rest stays in the residual. */
const LARGEST_SCALE = 2 ** 121;

/** max |value| / 127 as float32; 0 where every value is zero or too small to have a scale. */
export function scaleOf(values: Float64Array): number {
  const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  return Math.min(Math.fround(largest / STEPS), LARGEST_SCALE);
}

/** `value` in steps of `scale`, to the nearest, halves away from zero, within ±127; 0 where the scale is 0. */
export function quantise(value: number, scale: number): number {
  if (scale === 0) return 0;
  return Math.sign(value) * Math.min(Math.round(Math.abs(value) / scale), STEPS);
}

/** The scale at `offset`. Throws UndecodableDeltaError where it is not finite, negative, or so large that values are not. */
export function readScale(view: DataView, offset: number): number {
  const scale = view.getFloat32(offset, true);
  if (!(scale >= 0 && scale <= LARGEST_SCALE)) throw new UndecodableDeltaError(`${scale} is not a scale`);
  return scale;
}

/** The value at `offset` in steps of its scale. Throws UndecodableDeltaError for −128. */
export function readSteps(view: DataView, offset: number): number {
  const steps = view.getInt8(offset);
  if (steps < -STEPS) throw new UndecodableDeltaError(`the value at byte ${offset} is ${steps}, below −${STEPS}`);
  return steps;
}

/** `values` (length P, within float32) as 4T + P bytes. */
export function writeInt8(values: Float64Array, layout: readonly WeightTensor[]): Uint8Array {
  const bytes = new Uint8Array(4 * layout.length + values.length);
  const view = viewOf(bytes);
  layout.forEach((tensor, t) => {
    const own = values.subarray(tensor.offset, tensor.offset + weightCount([tensor]));
    const scale = scaleOf(own);
    view.setFloat32(4 * t, scale, true);
    own.forEach((value, i) => {
      view.setInt8(4 * layout.length + tensor.offset + i, quantise(value, scale));
    });
  });
  return bytes;
}

/** The P values of `bytes`. Throws UndecodableDeltaError for another length, a scale that is none, or a value of −128. */
export function readInt8(bytes: Uint8Array, layout: readonly WeightTensor[]): Float32Array {
  const values = new Float32Array(weightCount(layout));
  expectLength(bytes, 4 * layout.length + values.length);
  const view = viewOf(bytes);
  layout.forEach((tensor, t) => {
    const scale = readScale(view, 4 * t);
    const end = tensor.offset + weightCount([tensor]);
    for (let i = tensor.offset; i < end; i++) values[i] = scale * readSteps(view, 4 * layout.length + i);
  });
  return values;
}

/** The 2-norm of what `readInt8` reads, before its rounding to float32. Throws UndecodableDeltaError as it does. */
export function normOfInt8(bytes: Uint8Array, layout: readonly WeightTensor[]): number {
  expectLength(bytes, 4 * layout.length + weightCount(layout));
  const view = viewOf(bytes);
  let sum = 0;
  layout.forEach((tensor, t) => {
    const scale = readScale(view, 4 * t);
    const end = tensor.offset + weightCount([tensor]);
    let squares = 0;
    for (let i = tensor.offset; i < end; i++) {
      const steps = readSteps(view, 4 * layout.length + i);
      squares += steps * steps;
    }
    sum += scale * scale * squares;
  });
  return Math.sqrt(sum);
}
