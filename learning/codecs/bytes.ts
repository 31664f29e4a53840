// Reading and writing what the codecs have in common; every number is little-endian.
import { UndecodableDeltaError } from "./errors.ts";

/** A view of exactly `bytes`, wherever they lie in their buffer. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Throws UndecodableDeltaError for another number of bytes. */
export function expectLength(bytes: Uint8Array, expected: number): void {
  if (bytes.length !== expected)
    throw new UndecodableDeltaError(`${bytes.length} bytes where ${expected} are expected`);
}

/** The float32 at `offset`, which must be finite. */
export function readFloat32(view: DataView, offset: number): number {
  const value = view.getFloat32(offset, true);
  if (!Number.isFinite(value)) throw new UndecodableDeltaError(`the value at byte ${offset} is not finite`);
  return value;
}
