// How a delta travels: one way in and out of the codecs, and error feedback over them all.
import { type DeltaCodec, type WeightTensor, weightCount } from "../plan.ts";
import { UnencodableDeltaError } from "./errors.ts";
import { readFloat16, writeFloat16 } from "./float16.ts";
import { normOfFloat32s, readFloat32s, writeFloat32 } from "./float32.ts";
import { normOfInt8, readInt8, writeInt8 } from "./int8.ts";
import { readTopK, writeTopK } from "./top-k.ts";

export interface EncodedDelta {
  readonly bytes: Uint8Array;
  /** What the bytes do not say of delta + residual (length P): to be given with the next delta. */
  readonly residual: Float32Array;
}

/**
 * `delta` + `residual` (both length P; the first residual is zeros) in `codec`, and the residual to keep. So the decoded
 * deltas add up to the deltas but for the last residual: Seide et al. 2014; Karimireddy et al. 2019 (error feedback).
 * Throws UnencodableDeltaError for another length or a sum beyond float32, RangeError for a share outside (0, 1].
 */
export function encodeDelta(
  codec: DeltaCodec,
  delta: Float32Array,
  layout: readonly WeightTensor[],
  residual: Float32Array,
): EncodedDelta {
  const parameters = weightCount(layout);
  if (delta.length !== parameters || residual.length !== parameters) {
    throw new UnencodableDeltaError(
      `a delta of ${delta.length} and a residual of ${residual.length} values for ${parameters} parameters`,
    );
  }
  const carried = new Float64Array(delta).map((value, i) => value + Number(residual[i]));
  const wrong = carried.findIndex((value) => !Number.isFinite(Math.fround(value)));
  if (wrong >= 0) throw new UnencodableDeltaError(`parameter ${wrong} moves by ${carried[wrong]}`);
  const bytes = write(codec, carried, layout);
  const decoded = decodeDelta(codec, bytes, layout);
  return { bytes, residual: residual.map((_, i) => Number(carried[i]) - Number(decoded[i])) };
}

/**
 * The delta (length P, finite) that `bytes` hold in `codec`, whose share plays no part here. Bytes may come from anyone:
 * whatever is wrong with them throws UndecodableDeltaError, and the work is bounded by P and their length.
 */
export function decodeDelta(codec: DeltaCodec, bytes: Uint8Array, layout: readonly WeightTensor[]): Float32Array {
  switch (codec.kind) {
    case "float32":
      return readFloat32s(bytes, weightCount(layout));
    case "float16":
      return readFloat16(bytes, weightCount(layout));
    case "int8":
      return readInt8(bytes, layout);
    case "top_k":
      return readTopK(bytes, weightCount(layout), "float32");
    case "top_k_int8":
      return readTopK(bytes, weightCount(layout), "int8");
  }
}

/**
 * The 2-norm of the delta that `bytes` hold in `codec`, without its values being kept where they need not be. Throws
 * UndecodableDeltaError for the bytes for which `decodeDelta` does.
 */
export function deltaNorm(codec: DeltaCodec, bytes: Uint8Array, layout: readonly WeightTensor[]): number {
  switch (codec.kind) {
    case "float32":
      return normOfFloat32s(bytes, weightCount(layout));
    case "int8":
      return normOfInt8(bytes, layout);
    default:
      return Math.sqrt(decodeDelta(codec, bytes, layout).reduce((sum, value) => sum + value * value, 0));
  }
}

function write(codec: DeltaCodec, values: Float64Array, layout: readonly WeightTensor[]): Uint8Array {
  switch (codec.kind) {
    case "float32":
      return writeFloat32(values);
    case "float16":
      return writeFloat16(values);
    case "int8":
      return writeInt8(values, layout);
    case "top_k":
      return writeTopK(values, keptOf(codec.share, values.length), "float32");
    case "top_k_int8":
      return writeTopK(values, keptOf(codec.share, values.length), "int8");
  }
}

function keptOf(share: number, parameters: number): number {
  if (!(share > 0 && share <= 1)) throw new RangeError(`a share of ${share} cannot be sent: it must be in (0, 1]`);
  return Math.max(1, Math.round(share * parameters));
}
