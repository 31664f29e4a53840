// A quantile sketch as bytes, little-endian, read back only when every part of it agrees with the rest.

/** Level l of `levels` weighs 2^l an item; `top` ascends and holds the largest min(tail, count) values. */
export interface SketchState {
  readonly k: number;
  readonly tail: number;
  /** Unsigned 32 bits. */
  readonly seed: number;
  /** Coins drawn from the seed so far. */
  draws: number;
  count: number;
  min: number;
  max: number;
  readonly levels: number[][];
  readonly top: number[];
}

/** Bytes that are not a sketch: damaged, cut short, of another version, or inconsistent. */
export class SketchBytesError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SketchBytesError";
  }
}

/** "FQS" and the version of this layout. */
const MAGIC = 0x01_53_51_46;
const HEADER_BYTES = 36;
const CHECKSUM_BYTES = 4;
const MAX_LEVELS = 52;

/** FNV-1a, 32 bits: a change of any one byte changes it. Fowler, Noll & Vo 1991. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Header, u16 sizes of each level and of the top, float32 items in the same order, checksum of all before. */
export function encodeSketch(state: SketchState): Uint8Array {
  const parts = [...state.levels, state.top];
  const items = parts.reduce((total, part) => total + part.length, 0);
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * parts.length + 4 * items + CHECKSUM_BYTES));
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, state.k, true);
  view.setUint16(6, state.tail, true);
  view.setUint32(8, state.seed, true);
  view.setUint32(12, state.draws, true);
  view.setFloat64(16, state.count, true);
  view.setFloat32(24, state.min, true);
  view.setFloat32(28, state.max, true);
  view.setUint32(32, state.levels.length, true);
  let at = HEADER_BYTES;
  for (const part of parts) {
    view.setUint16(at, part.length, true);
    at += 2;
  }
  for (const item of parts.flat()) {
    view.setFloat32(at, item, true);
    at += 4;
  }
  const bytes = new Uint8Array(view.buffer);
  view.setUint32(at, checksum(bytes.subarray(0, at)), true);
  return bytes;
}

function check(holds: boolean, complaint: string): asserts holds {
  if (!holds) throw new SketchBytesError(complaint);
}

/** Sizes and items of the parts after the header; every byte is accounted for. */
function readParts(view: DataView, levels: number): number[][] {
  const itemsAt = HEADER_BYTES + 2 * (levels + 1);
  check(view.byteLength >= itemsAt + CHECKSUM_BYTES, "sketch bytes end before their sizes");
  const sizes = Array.from({ length: levels + 1 }, (_, i) => view.getUint16(HEADER_BYTES + 2 * i, true));
  const items = sizes.reduce((total, size) => total + size, 0);
  check(view.byteLength === itemsAt + 4 * items + CHECKSUM_BYTES, `sketch bytes are not of ${items} items`);
  let at = itemsAt;
  return sizes.map((size) => {
    const part = Array.from({ length: size }, (_, i) => view.getFloat32(at + 4 * i, true));
    at += 4 * size;
    return part;
  });
}

function checkState(state: SketchState, capacity: (k: number, levels: number) => number): void {
  const { k, tail, count, min, max, levels, top } = state;
  check(k >= 8 && k <= 4096 && tail <= 4096, `a sketch of k ${k} and tail ${tail}`);
  check(Number.isSafeInteger(count) && count >= 0, `a sketch of ${count} values`);
  const weight = levels.reduce((total, items, level) => total + items.length * 2 ** level, 0);
  check(weight === count, `a sketch of ${count} values that weighs ${weight}`);
  check(levels.flat().length <= capacity(k, levels.length), "a sketch that holds more than it may");
  check(top.length === Math.min(tail, count), `the largest ${top.length} of ${count} values where ${tail} are kept`);
  check(
    top.every((value, i) => i === 0 || value >= Number(top[i - 1])),
    "largest values out of order",
  );
  if (count === 0) return;
  check(Number.isFinite(min) && Number.isFinite(max), "a sketch without finite ends");
  check(
    [...levels, top].flat().every((value) => value >= min && value <= max),
    "a value outside the sketch's ends",
  );
  check(top.length === 0 || top.at(-1) === max, "the largest value is not the largest");
}

/** `capacity` gives the most items of a sketch with that k and number of levels. Throws SketchBytesError. */
export function decodeSketch(bytes: Uint8Array, capacity: (k: number, levels: number) => number): SketchState {
  check(bytes.length >= HEADER_BYTES + CHECKSUM_BYTES, `${bytes.length} bytes are too few for a sketch`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  check(view.getUint32(0, true) === MAGIC, "not a sketch of this version");
  const at = bytes.length - CHECKSUM_BYTES;
  check(view.getUint32(at, true) === checksum(bytes.subarray(0, at)), "sketch bytes are damaged");
  const levelCount = view.getUint32(32, true);
  check(levelCount >= 1 && levelCount <= MAX_LEVELS, `a sketch of ${levelCount} levels`);
  const parts = readParts(view, levelCount);
  const count = view.getFloat64(16, true);
  const state: SketchState = {
    k: view.getUint16(4, true),
    tail: view.getUint16(6, true),
    seed: view.getUint32(8, true),
    draws: view.getUint32(12, true),
    count,
    min: count === 0 ? Number.POSITIVE_INFINITY : view.getFloat32(24, true),
    max: count === 0 ? Number.NEGATIVE_INFINITY : view.getFloat32(28, true),
    levels: parts.slice(0, -1),
    top: parts.at(-1) ?? [],
  };
  checkState(state, capacity);
  return state;
}
