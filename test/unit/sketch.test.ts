import fc from "fast-check";
import { expect, test } from "vitest";
import { seededRandom } from "../../learning/random.ts";
import { QuantileSketch, SketchBytesError } from "../../learning/sketch.ts";

const sketchOf = (values: ArrayLike<number>, seed = 1, settings: { k?: number; tail?: number } = {}) => {
  const sketch = QuantileSketch.empty({ seed, ...settings });
  for (const value of Array.from(values)) sketch.add(value);
  return sketch;
};

const uniform = (n: number, seed: number) => {
  const random = seededRandom(seed);
  return Float32Array.from({ length: n }, () => random.next());
};

const N = 50_000;
const DISTRIBUTIONS: Record<string, Float32Array> = {
  uniform: uniform(N, 11),
  // A Pareto tail of index ½: it has not even a mean.
  "heavy-tailed": uniform(N, 12).map((u) => (1 - u) ** -2),
  bimodal: uniform(N, 13).map((u) => (u < 0.5 ? u : 1e9 + u)),
  tied: uniform(N, 14).map((u) => Math.floor(u * 7)),
  ascending: Float32Array.from({ length: N }, (_, i) => i),
  descending: Float32Array.from({ length: N }, (_, i) => N - i),
  constant: new Float32Array(N).fill(3),
};

/** How far the share q lies outside the shares of `sorted` that are below `value` and up to it. */
function rankError(sorted: Float32Array, q: number, value: number): number {
  const below = sorted.findIndex((other) => other >= value) / sorted.length;
  const upTo = (sorted.findLastIndex((other) => other <= value) + 1) / sorted.length;
  return Math.max(0, below - q, q - upTo);
}

const SHARES = Array.from({ length: 99 }, (_, i) => (i + 1) / 100);
const worst = (sketch: QuantileSketch, sorted: Float32Array) =>
  Math.max(...SHARES.map((q) => rankError(sorted, q, sketch.quantile(q) as number)));

test.each(Object.entries(DISTRIBUTIONS))("every percentile of %s values is within 4/k of its rank", (_, values) => {
  const sorted = values.toSorted();
  for (const seed of [1, 2, 3]) {
    const sketch = sketchOf(values, seed);
    expect(worst(sketch, sorted)).toBeLessThan(0.02);
    const upTo = (value: number) => (sorted.findLastIndex((other) => other <= value) + 1) / N;
    for (const i of [0, 5000, 25_000, 45_000, N - 1]) {
      const value = sorted[i] as number;
      expect(Math.abs((sketch.rank(value) as number) - upTo(value))).toBeLessThan(0.02);
    }
  }
});

test("the error falls as k grows", () => {
  const values = uniform(N, 21);
  const sorted = values.toSorted();
  const typical = (k: number) => {
    const errors = [1, 2, 3, 4, 5].map((seed) => worst(sketchOf(values, seed, { k, tail: 0 }), sorted));
    return errors.reduce((a, b) => a + b) / errors.length;
  };
  expect(typical(800)).toBeLessThan(0.5 * typical(100));
});

test.each(Object.entries(DISTRIBUTIONS))("fifty merged sketches know %s values as well as one", (_, values) => {
  const sorted = values.toSorted();
  const pool = QuantileSketch.empty({ seed: 99 });
  for (let device = 0; device < 50; device++) {
    pool.merge(sketchOf(values.subarray(device * 1000, (device + 1) * 1000), device));
  }
  expect(pool.count).toBe(N);
  expect(worst(pool, sorted)).toBeLessThan(0.02);
  // (1 − q)·n is below the 256 values kept: exact.
  for (const q of [0.995, 0.999, 0.9999, 1]) expect(pool.quantile(q)).toBe(sorted[Math.ceil(q * N) - 1]);
  expect(pool.quantile(0)).toBe(sorted[0]);
  expect(pool.serialise().length).toBeLessThan(5000);
});

test("the bytes stay bounded however many values come", () => {
  const sketch = QuantileSketch.empty({ seed: 5 });
  const random = seededRandom(6);
  let most = 0;
  for (let i = 0; i < 300_000; i++) {
    sketch.add(random.normal());
    if (i % 10_000 === 0) most = Math.max(most, sketch.serialise().length);
  }
  expect(most).toBeLessThan(5000);
});

test("ranks of few values are exact, and so is the tail of many", () => {
  const few = sketchOf([5, 1, 3, 3, 9]);
  expect([0, 0.2, 0.21, 0.6, 0.8, 1].map((q) => few.quantile(q))).toEqual([1, 1, 3, 3, 5, 9]);
  expect([0, 1, 3, 4, 9, 10].map((value) => few.rank(value))).toEqual([0, 0.2, 0.6, 0.6, 1, 1]);
  const many = sketchOf(Float32Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 10_000));
  expect(many.quantile(0.999)).toBe(9989);
  expect(many.rank(9989)).toBe(0.999);
  expect(many.rank(9989.5)).toBe(0.999);
});

test("small sketches agree with sorting, and rank undoes quantile", () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 150 }),
      (values) => {
        const sketch = sketchOf(values, 3, { tail: 16 });
        const sorted = Float64Array.from(values, (value) => value + 0).sort();
        sorted.forEach((value, i) => {
          expect(sketch.quantile((i + 1) / sorted.length)).toBe(value);
          expect(sketch.rank(value)).toBe((sorted.findLastIndex((other) => other <= value) + 1) / sorted.length);
        });
      },
    ),
    { seed: 1 },
  );
});

test("quantiles never fall as q grows, merged or not", () => {
  const pool = sketchOf(DISTRIBUTIONS.bimodal as Float32Array, 1);
  pool.merge(sketchOf(DISTRIBUTIONS["heavy-tailed"] as Float32Array, 2));
  const quantiles = Array.from({ length: 2001 }, (_, i) => pool.quantile(i / 2000) as number);
  expect(quantiles).toEqual(quantiles.toSorted((a, b) => a - b));
});

test("the same seed gives the same bytes, another seed others", () => {
  const values = uniform(5000, 8);
  expect(sketchOf(values, 1).serialise()).toEqual(sketchOf(values, 1).serialise());
  const items = (seed: number) => sketchOf(values, seed).serialise().subarray(36);
  expect(items(1)).not.toEqual(items(2));
});

test("a sketch restores exactly and goes on as if it had never stopped", () => {
  fc.assert(
    fc.property(fc.nat(3000), fc.nat(500), fc.nat(), (before, after, seed) => {
      const values = uniform(before + after, seed);
      const whole = sketchOf(values.subarray(0, before), seed, { k: 16, tail: 8 });
      const restored = QuantileSketch.deserialise(whole.serialise());
      expect(restored.serialise()).toEqual(whole.serialise());
      for (const value of values.subarray(before)) {
        whole.add(value);
        restored.add(value);
      }
      expect(restored.serialise()).toEqual(whole.serialise());
    }),
    { seed: 1, numRuns: 50 },
  );
});

test("any changed byte, any missing end and any added end are refused", () => {
  const bytes = sketchOf(uniform(400, 4), 4, { k: 8, tail: 8 }).serialise();
  const at = fc.nat(bytes.length - 1);
  fc.assert(
    fc.property(at, fc.integer({ min: 1, max: 255 }), (index, flip) => {
      const damaged = bytes.slice();
      damaged[index] = (damaged[index] as number) ^ flip;
      expect(() => QuantileSketch.deserialise(damaged)).toThrow(SketchBytesError);
      expect(() => QuantileSketch.deserialise(bytes.subarray(0, index))).toThrow(SketchBytesError);
    }),
    { seed: 1, numRuns: 500 },
  );
  expect(() => QuantileSketch.deserialise(Uint8Array.of(...bytes, 0))).toThrow(SketchBytesError);
  expect(() => QuantileSketch.deserialise(new Uint8Array(0))).toThrow(SketchBytesError);
  // A view into a larger buffer is fine.
  expect(QuantileSketch.deserialise(Uint8Array.of(9, ...bytes).subarray(1)).serialise()).toEqual(bytes);
});

/** The same checksum as the writer's, so that only what the bytes say is wrong. */
function resealed(bytes: Uint8Array): Uint8Array {
  let hash = 0x811c9dc5;
  for (const byte of bytes.subarray(0, -4)) hash = Math.imul(hash ^ byte, 0x01000193);
  new DataView(bytes.buffer).setUint32(bytes.length - 4, hash >>> 0, true);
  return bytes;
}

test.each<[string, (view: DataView) => void]>([
  ["claims more values than it weighs", (view) => view.setFloat64(16, 1e6, true)],
  ["claims a count that is none", (view) => view.setFloat64(16, Number.NaN, true)],
  ["has an impossible k", (view) => view.setUint16(4, 3, true)],
  ["has a tail that it does not hold", (view) => view.setUint16(6, 9, true)],
  ["has too many levels", (view) => view.setUint32(32, 60_000, true)],
  ["has no level", (view) => view.setUint32(32, 0, true)],
  ["has values above its largest", (view) => view.setFloat32(28, 0.5, true)],
  ["has values below its smallest", (view) => view.setFloat32(24, 0.99, true)],
  ["has a value that is not a number", (view) => view.setFloat32(view.byteLength - 8, Number.NaN, true)],
  ["has its largest out of order", (view) => view.setFloat32(view.byteLength - 12, 0, true)],
])("a well-sealed sketch that %s is refused", (_, change) => {
  const bytes = sketchOf(uniform(400, 4), 4, { k: 8, tail: 8 }).serialise();
  expect(() => QuantileSketch.deserialise(resealed(bytes.slice()))).not.toThrow();
  change(new DataView(bytes.buffer));
  expect(() => QuantileSketch.deserialise(resealed(bytes))).toThrow(SketchBytesError);
});

test("without an exact tail, values above the largest are refused all the same", () => {
  const bytes = sketchOf(uniform(400, 4), 4, { k: 8, tail: 0 }).serialise();
  new DataView(bytes.buffer).setFloat32(28, 0.5, true);
  expect(() => QuantileSketch.deserialise(resealed(bytes))).toThrow(SketchBytesError);
});

test("an empty sketch says null, restores and merges", () => {
  const empty = QuantileSketch.deserialise(QuantileSketch.empty({ seed: 1 }).serialise());
  expect([empty.count, empty.quantile(0.5), empty.rank(3)]).toEqual([0, null, null]);
  empty.merge(QuantileSketch.empty({ seed: 2 }));
  empty.merge(sketchOf([4]));
  expect([empty.count, empty.quantile(0.5), empty.rank(3)]).toEqual([1, 4, 0]);
});

test("the quantile of many sketches together is exact where each one's tail is, in any order, and near elsewhere", () => {
  const parts = Array.from({ length: 100 }, (_, part) => uniform(1000, 300 + part));
  const sketches = parts.map((values, part) => sketchOf(values, part, { k: 64, tail: 64 }));
  const sorted = Float32Array.from(parts.flatMap((values) => [...values])).sort();
  // The 1,000 largest of 100,000 are far more than any tail: a merged sketch would have lost most of them.
  expect(QuantileSketch.quantileOf(sketches, 0.99)).toBe(sorted[98_999]);
  expect(QuantileSketch.quantileOf(sketches.toReversed(), 0.99)).toBe(sorted[98_999]);
  expect(QuantileSketch.quantileOf(sketches, 0)).toBe(sorted[0]);
  expect(QuantileSketch.quantileOf(sketches, 1)).toBe(sorted[99_999]);
  for (const q of [0.1, 0.5, 0.9]) {
    const value = QuantileSketch.quantileOf(sketches, q) as number;
    expect(rankError(sorted, q, value)).toBeLessThan(0.02);
    expect(QuantileSketch.quantileOf(sketches.toReversed(), q)).toBe(value);
  }
  const empty = QuantileSketch.empty({ seed: 1 });
  expect(QuantileSketch.quantileOf([empty], 0.5)).toBeNull();
  expect(QuantileSketch.quantileOf([empty, sketchOf([3])], 0.5)).toBe(3);
  expect(() => QuantileSketch.quantileOf(sketches, Number.NaN)).toThrow(RangeError);
});

test("merging leaves the other as it was, and a sketch merges with itself", () => {
  const one = sketchOf(uniform(3000, 1), 1);
  const other = sketchOf(uniform(3000, 2), 2);
  const before = other.serialise();
  one.merge(other);
  one.add(7);
  expect(other.serialise()).toEqual(before);
  other.merge(other);
  expect(other.count).toBe(6000);
  expect(QuantileSketch.deserialise(other.serialise()).count).toBe(6000);
});

test("values that are not finite, other sizes and shares outside are refused, and change nothing", () => {
  const sketch = sketchOf([1, 2, 3]);
  const before = sketch.serialise();
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) expect(() => sketch.add(value)).toThrow(RangeError);
  const smaller = QuantileSketch.empty({ seed: 1, k: 100 });
  expect(sketch.mergesWith(smaller)).toBe(false);
  expect(() => sketch.merge(smaller)).toThrow(RangeError);
  expect(() => sketch.quantile(1.1)).toThrow(RangeError);
  expect(() => sketch.rank(Number.NaN)).toThrow(RangeError);
  expect(sketch.serialise()).toEqual(before);
  for (const settings of [{ k: 7 }, { k: 5000 }, { tail: -1 }, { tail: 1.5 }]) {
    expect(() => QuantileSketch.empty({ seed: 1, ...settings })).toThrow(RangeError);
  }
});

test("values beyond float32 keep their order at its ends", () => {
  const sketch = sketchOf([1e300, 1, -1e300]);
  expect([0, 0.5, 1].map((q) => sketch.quantile(q))).toEqual([-3.4028234663852886e38, 1, 3.4028234663852886e38]);
  expect(QuantileSketch.deserialise(sketch.serialise()).quantile(1)).toBe(3.4028234663852886e38);
});
