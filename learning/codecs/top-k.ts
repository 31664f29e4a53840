// Top-k: only the k values of the largest magnitude, as float32 or as int8 with one scale for them all. Little-endian:
//   uint32 k · uint8 Rice parameter · [float32 scale, int8 only] · k values, by ascending index · the indices as Rice codes
// of the gaps: parameters skipped since the index before (the first: since the start). A gap is never negative, so an
// index can neither be repeated nor go back. One scale suffices: the largest values are of one magnitude.
import { expectLength, readFloat32, viewOf } from "./bytes.ts";
import { UndecodableDeltaError } from "./errors.ts";
import { quantise, readScale, readSteps, scaleOf } from "./int8.ts";
import { bestRiceParameter, LARGEST_RICE_PARAMETER, readRice, writeRice } from "./rice.ts";

export type TopKValues = "float32" | "int8";

const form = (values: TopKValues) => (values === "int8" ? { head: 9, width: 1 } : { head: 5, width: 4 });

/** Indices of the `k` values of the largest magnitude, ascending; fewer where fewer are not zero. Ties: lowest index. */
function largestIndices(values: Float64Array, k: number): number[] {
  const magnitudes = values.map(Math.abs);
  const threshold = Number(magnitudes.toSorted().at(-k));
  let ties = k - magnitudes.reduce((above, magnitude) => above + Number(magnitude > threshold), 0);
  return [...magnitudes.keys()].filter((i) => {
    const magnitude = Number(magnitudes[i]);
    return magnitude > threshold || (magnitude === threshold && magnitude > 0 && ties-- > 0);
  });
}

/** The `k` (1 … P) largest of `values` (length P, within float32): 5 + 4k or 9 + k bytes, and the indices' bits. */
export function writeTopK(values: Float64Array, k: number, as: TopKValues): Uint8Array {
  const indices = values.length === 0 ? [] : largestIndices(values, k);
  const gaps = indices.map((index, n) => index - (indices[n - 1] ?? -1) - 1);
  const parameter = bestRiceParameter(gaps);
  const codes = writeRice(gaps, parameter);
  const { head, width } = form(as);
  const bytes = new Uint8Array(head + width * indices.length + codes.length);
  const view = viewOf(bytes);
  view.setUint32(0, indices.length, true);
  view.setUint8(4, parameter);
  const kept = Float64Array.from(indices, (index) => Number(values[index]));
  const scale = scaleOf(kept);
  if (as === "int8") view.setFloat32(5, scale, true);
  kept.forEach((value, n) => {
    if (as === "int8") view.setInt8(head + n, quantise(value, scale));
    else view.setFloat32(head + 4 * n, value, true);
  });
  bytes.set(codes, head + width * indices.length);
  return bytes;
}

/**
 * The `parameters` = P values of `bytes`, zero where none was kept. Throws UndecodableDeltaError for another length, k
 * above P, an index out of range, a scale that is none, or a value that is not finite.
 */
export function readTopK(bytes: Uint8Array, parameters: number, as: TopKValues): Float32Array {
  const { head, width } = form(as);
  if (bytes.length < head) expectLength(bytes, head);
  const view = viewOf(bytes);
  const count = view.getUint32(0, true);
  if (count > parameters) throw new UndecodableDeltaError(`${count} values for ${parameters} parameters`);
  const parameter = view.getUint8(4);
  if (parameter > LARGEST_RICE_PARAMETER) throw new UndecodableDeltaError(`${parameter} is not a Rice parameter`);
  const codesAt = head + width * count;
  const scale = as === "int8" ? readScale(view, 5) : 1;
  const delta = new Float32Array(parameters);
  let index = -1;
  readRice(bytes.subarray(codesAt), count, parameter).forEach((gap, n) => {
    index += gap + 1;
    if (index >= parameters) throw new UndecodableDeltaError(`index ${index} of ${parameters} parameters`);
    delta[index] = as === "int8" ? scale * readSteps(view, head + n) : readFloat32(view, head + 4 * n);
  });
  return delta;
}
