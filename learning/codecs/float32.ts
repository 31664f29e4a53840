// float32: P values of 4 bytes, little-endian, in layout order.
import { expectLength, readFloat32, viewOf } from "./bytes.ts";

/** `values` (length P, within float32) as 4P bytes. */
export function writeFloat32(values: Float64Array): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = viewOf(bytes);
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return bytes;
}

/** The `parameters` = P values of `bytes`. Throws UndecodableDeltaError unless they are 4P bytes of finite values. */
export function readFloat32s(bytes: Uint8Array, parameters: number): Float32Array {
  expectLength(bytes, 4 * parameters);
  const view = viewOf(bytes);
  const values = new Float32Array(parameters);
  for (let i = 0; i < parameters; i++) values[i] = readFloat32(view, 4 * i);
  return values;
}

/** The 2-norm of what `readFloat32s` reads. Throws UndecodableDeltaError as it does. */
export function normOfFloat32s(bytes: Uint8Array, parameters: number): number {
  expectLength(bytes, 4 * parameters);
  const view = viewOf(bytes);
  let sum = 0;
  for (let i = 0; i < parameters; i++) {
    const value = readFloat32(view, 4 * i);
    sum += value * value;
  }
  return Math.sqrt(sum);
}
