// float16 (IEEE 754 binary16): P values of 2 bytes, little-endian, in layout order: 1 sign, 5 exponent, 10 fraction bits.
import { expectLength, viewOf } from "./bytes.ts";
import { UndecodableDeltaError } from "./errors.ts";

export const LARGEST_FLOAT16 = 65_504;

/**
 * The 16 bits of the float16 nearest to `value` (finite), ties to even. Beyond ±65504 it is ±65504, never infinity, so
 * that what does not fit stays finite in the residual; up to 2⁻²⁵ it is zero.
 */
export function toFloat16(value: number): number {
  const magnitude = Math.min(Math.abs(value), LARGEST_FLOAT16);
  // Within a rounding of a power of two log2 may give the neighbouring exponent; both lead to the same bits.
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14);
  const quanta = roundHalfEven(magnitude * 2 ** (10 - exponent));
  // 1024 quanta or more carry into the exponent by themselves; fewer, at exponent -14, are a subnormal.
  const bits = (exponent + 14) * 1024 + quanta;
  return value < 0 ? bits | 0x8000 : bits;
}

/** The value of 16 float16 bits, exactly; ±Infinity or NaN where all exponent bits are set. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** `values` (length P, finite) as 2P bytes. */
export function writeFloat16(values: Float64Array): Uint8Array {
  const bytes = new Uint8Array(2 * values.length);
  const view = viewOf(bytes);
  values.forEach((value, i) => {
    view.setUint16(2 * i, toFloat16(value), true);
  });
  return bytes;
}

/** The `parameters` = P values of `bytes`. Throws UndecodableDeltaError unless they are 2P bytes of finite values. */
export function readFloat16(bytes: Uint8Array, parameters: number): Float32Array {
  expectLength(bytes, 2 * parameters);
  const view = viewOf(bytes);
  return new Float32Array(parameters).map((_, i) => {
    const value = fromFloat16(view.getUint16(2 * i, true));
    if (!Number.isFinite(value)) throw new UndecodableDeltaError(`parameter ${i} is not finite`);
    return value;
  });
}
