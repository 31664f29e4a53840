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
  return new Float32Array(parameters).map((_, i) => readFloat32(view, 4 * i));
}
