// Weights and deltas on the wire: one flat float32 vector, little endian, in the plan's layout order.

export class WeightsError extends Error {
  readonly reason: "wrong_length" | "not_finite";
  constructor(reason: "wrong_length" | "not_finite", message: string) {
    super(message);
    this.name = "WeightsError";
    this.reason = reason;
  }
}

export function encodeWeights(weights: Float32Array): Uint8Array {
  return new Uint8Array(weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength));
}

/** Throws WeightsError unless `bytes` holds exactly `count` finite numbers. */
export function decodeWeights(bytes: Uint8Array, count: number): Float32Array {
  if (bytes.byteLength !== count * 4) {
    throw new WeightsError("wrong_length", `${bytes.byteLength} bytes, but ${count} float32 values take ${count * 4}`);
  }
  const weights = new Float32Array(Uint8Array.from(bytes).buffer); // a Buffer.slice() would share its pool
  const bad = weights.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new WeightsError("not_finite", `value ${bad} is ${weights[bad]}; every value must be finite`);
  return weights;
}
