// Rice codes: a gap g with parameter r is floor(g / 2^r) one bits, a zero bit, then the r low bits of g, highest first.
// Bits fill bytes from the highest; the last byte is padded with zeros. Rice & Plaunt 1971.
import { UndecodableDeltaError } from "./errors.ts";

export const LARGEST_RICE_PARAMETER = 30;

function bitsOf(gaps: readonly number[], parameter: number): number {
  return gaps.reduce((bits, gap) => bits + Math.floor(gap / 2 ** parameter) + 1 + parameter, 0);
}

/** The parameter with which `gaps` (integers ≥ 0) take the fewest bits, in 0 … 30. */
export function bestRiceParameter(gaps: readonly number[]): number {
  let best = 0;
  for (let parameter = 1; parameter <= LARGEST_RICE_PARAMETER; parameter++) {
    if (bitsOf(gaps, parameter) < bitsOf(gaps, best)) best = parameter;
  }
  return best;
}

/** `gaps` (integers ≥ 0) in Rice codes with `parameter`, in as few bytes as hold them. */
export function writeRice(gaps: readonly number[], parameter: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(bitsOf(gaps, parameter) / 8));
  let at = 0;
  const put = (bit: number) => {
    bytes[at >> 3] = Number(bytes[at >> 3]) | (bit << (7 - (at & 7)));
    at++;
  };
  for (const gap of gaps) {
    for (let ones = Math.floor(gap / 2 ** parameter); ones > 0; ones--) put(1);
    put(0);
    for (let bit = parameter - 1; bit >= 0; bit--) put((gap >> bit) & 1);
  }
  return bytes;
}

/**
 * `count` gaps from all of `bytes`. Throws UndecodableDeltaError where the bytes end too soon, hold more than the gaps,
 * or are not padded with zeros: a list of gaps has one encoding for a parameter.
 */
export function readRice(bytes: Uint8Array, count: number, parameter: number): number[] {
  let at = 0;
  const take = () => {
    const byte = bytes[at >> 3];
    if (byte === undefined) throw new UndecodableDeltaError("the bytes end before the last index");
    const bit = (byte >> (7 - (at & 7))) & 1;
    at++;
    return bit;
  };
  const gaps = Array.from({ length: count }, () => {
    let gap = 0;
    while (take() === 1) gap++;
    for (let bit = 0; bit < parameter; bit++) gap = 2 * gap + take();
    return gap;
  });
  if (Math.ceil(at / 8) !== bytes.length) throw new UndecodableDeltaError("there are bytes after the last index");
  while (at < 8 * bytes.length) {
    if (take() === 1) throw new UndecodableDeltaError("the last byte is not padded with zeros");
  }
  return gaps;
}
