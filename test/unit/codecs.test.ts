import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeDelta, deltaNorm, encodeDelta } from "../../learning/codecs/codec.ts";
import { UndecodableDeltaError, UnencodableDeltaError } from "../../learning/codecs/errors.ts";
import { fromFloat16, toFloat16 } from "../../learning/codecs/float16.ts";
import { layOut } from "../../learning/models/weight-layout.ts";
import { type DeltaCodec, type WeightTensor, weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";

const floats = (...values: number[]) => Float32Array.from(values);
const vector = (length: number): WeightTensor[] => layOut([{ name: "w", shape: [length] }]);
const zeros = (layout: readonly WeightTensor[]) => new Float32Array(weightCount(layout));
const encode = (codec: DeltaCodec, delta: Float32Array, layout = vector(delta.length)) =>
  encodeDelta(codec, delta, layout, zeros(layout));
const roundTrip = (codec: DeltaCodec, delta: Float32Array, layout = vector(delta.length)) =>
  decodeDelta(codec, encode(codec, delta, layout).bytes, layout);

const CODECS: readonly DeltaCodec[] = [
  { kind: "float32" },
  { kind: "float16" },
  { kind: "int8" },
  { kind: "top_k", share: 0.1 },
  { kind: "top_k_int8", share: 0.1 },
];
const named = CODECS.map((codec) => [codec.kind, codec] as const);

/** The default plan's model, 24-16-1-16-24: 857 parameters in 8 tensors. */
const DEFAULT_LAYOUT = layOut(
  [24, 16, 1, 16].flatMap((inputs, i) => {
    const outputs = [16, 1, 16, 24][i] as number;
    return [
      { name: `w${i}`, shape: [inputs, outputs] },
      { name: `b${i}`, shape: [outputs] },
    ];
  }),
);

function normalDelta(length: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return new Float32Array(length).map(() => 0.01 * random.normal());
}

test("the default plan's delta takes a half, a quarter and a twentieth of its float32 bytes", () => {
  const sizes = CODECS.map((codec) => encode(codec, normalDelta(857, 1), DEFAULT_LAYOUT).bytes.length);
  expect(sizes.slice(0, 3)).toEqual([4 * 857, 2 * 857, 857 + 4 * 8]);
  expect(sizes[4]).toBeLessThanOrEqual((4 * 857) / 20);
  // The same indices; values of 4 bytes instead of one, and no scale.
  expect(sizes[3]).toBe(Number(sizes[4]) + 86 * 3 - 4);
});

test("top-k takes its head, its values and the bits of their indices", () => {
  // Every tenth of 1000: gaps of 9, at 5 bits with parameter 3 (one 1, one 0, three low bits), are 63 bytes of 100.
  const delta = new Float32Array(1000).map((_, i) => (i % 10 === 9 ? 1 : 0.001));
  expect(encode({ kind: "top_k_int8", share: 0.1 }, delta).bytes).toHaveLength(9 + 100 + 63);
  expect(encode({ kind: "top_k", share: 0.1 }, delta).bytes).toHaveLength(5 + 400 + 63);
});

test("the bytes are laid out as documented", () => {
  const layout = layOut([
    { name: "a", shape: [2] },
    { name: "b", shape: [1, 3] },
  ]);
  const delta = floats(127, -1, 0, 254, -254);
  const bytes = (codec: DeltaCodec) => [...encode(codec, delta, layout).bytes];
  expect(bytes({ kind: "float32" }).slice(0, 8)).toEqual([0, 0, 0xfe, 0x42, 0, 0, 0x80, 0xbf]);
  expect(bytes({ kind: "float16" })).toEqual([0xf0, 0x57, 0x00, 0xbc, 0, 0, 0xf0, 0x5b, 0xf0, 0xdb]);
  expect(bytes({ kind: "int8" })).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 127, 255, 0, 127, 129]);
  // Indices 0, 3 and 4: gaps 0, 2, 0, with parameter 0 the bits 0 110 0.
  const topK = [3, 0, 0, 0, 0, 0, 0, 0, 0x40, 64, 127, 129, 0b0110_0000];
  expect(bytes({ kind: "top_k_int8", share: 0.6 })).toEqual(topK);
});

test("float16 is the nearest half, and every half is itself", () => {
  const wrong: number[] = [];
  for (let bits = 0; bits < 0x1_0000; bits++) {
    const value = fromFloat16(bits);
    const next = fromFloat16(bits + 1);
    if (bits === 0x8000 || !Number.isFinite(value)) continue;
    if (toFloat16(value) !== bits) wrong.push(bits);
    if (!Number.isFinite(next) || bits === 0x7fff) continue;
    // Half way the even one; a hair to either side, the nearer.
    const middle = (value + next) / 2;
    const hair = (next - value) * 1e-9;
    const rounded = [middle - hair, middle, middle + hair].map(toFloat16);
    if (rounded.some((given, i) => given !== [bits, bits + (bits % 2), bits + 1][i])) wrong.push(bits);
  }
  expect(wrong).toEqual([]);
  expect([fromFloat16(0x3c00), fromFloat16(0xc000), fromFloat16(1), fromFloat16(0x7bff)]).toEqual([
    1,
    -2,
    2 ** -24,
    65_504,
  ]);
});

test("float16 beyond its largest value stays there, and the rest is kept for the next update", () => {
  const { bytes, residual } = encode({ kind: "float16" }, floats(100_000, -3e38, 65_519.996));
  expect([...decodeDelta({ kind: "float16" }, bytes, vector(3))]).toEqual([65_504, -65_504, 65_504]);
  expect(residual[0]).toBe(100_000 - 65_504);
});

const deltas = (min: number, max: number) =>
  fc.float32Array({
    minLength: 1,
    maxLength: 200,
    min: Math.fround(min),
    max: Math.fround(max),
    noNaN: true,
  });

/** Never a negative zero: carried with the residual, it is a plain zero. */
const negated = (delta: Float32Array) => delta.map((value) => 0 - value);

test("float32 gives back what it was given", () => {
  fc.assert(
    fc.property(deltas(-3e38, 3e38), (delta) => {
      const { bytes, residual } = encode({ kind: "float32" }, delta);
      expect(decodeDelta({ kind: "float32" }, bytes, vector(delta.length))).toEqual(negated(negated(delta)));
      expect(residual.every((value) => value === 0)).toBe(true);
    }),
    { seed: 1 },
  );
});

test("float16 is off by at most 2⁻¹¹ of a value, or 2⁻²⁵", () => {
  fc.assert(
    fc.property(deltas(-65_504, 65_504), (delta) => {
      roundTrip({ kind: "float16" }, delta).forEach((value, i) => {
        const exact = Number(delta[i]);
        expect(Math.abs(value - exact)).toBeLessThanOrEqual(Math.max(Math.abs(exact) * 2 ** -11, 2 ** -25));
      });
    }),
    { seed: 2 },
  );
});

test("int8 is off by at most half a step of its own tensor, and as much for the opposite delta", () => {
  fc.assert(
    fc.property(deltas(-1000, 1000), deltas(-0.001, 0.001), (large, small) => {
      const layout = layOut([
        { name: "large", shape: [large.length] },
        { name: "small", shape: [small.length] },
      ]);
      const delta = floats(...large, ...small);
      const decoded = roundTrip({ kind: "int8" }, delta, layout);
      const opposite = roundTrip({ kind: "int8" }, negated(delta), layout);
      expect(negated(opposite)).toEqual(negated(negated(decoded)));
      for (const [own, from] of [
        [large, 0],
        [small, large.length],
      ] as const) {
        const half = Math.max(...own.map(Math.abs)) / 254;
        own.forEach((value, i) => {
          // Scales below the smallest normal float32 are themselves coarse.
          expect(Math.abs(Number(decoded[from + i]) - value)).toBeLessThanOrEqual(half * 1.0001 + 1e-42);
        });
      }
    }),
    { seed: 3 },
  );
});

test("int8 carries the largest and the smallest float32 without leaving the finite", () => {
  const delta = floats(3.4028234e38, -3.4028234e38, 1e-45);
  const { bytes, residual } = encode({ kind: "int8" }, delta);
  expect(decodeDelta({ kind: "int8" }, bytes, vector(3)).every(Number.isFinite)).toBe(true);
  expect(residual.every(Number.isFinite)).toBe(true);
  expect(Math.abs(Number(residual[0]))).toBeLessThan(3.4028234e38 / 100);
  const tiny = encode({ kind: "int8" }, floats(1e-45, -1e-45));
  expect([...tiny.bytes]).toEqual([0, 0, 0, 0, 0, 0]);
  expect([...tiny.residual]).toEqual([...floats(1e-45, -1e-45)]);
});

test("top-k keeps the largest values exactly, the earlier of equals, and the rest as residual", () => {
  const delta = floats(0.5, -3, 0, 2, 2, -2);
  const { bytes, residual } = encode({ kind: "top_k", share: 0.5 }, delta);
  expect([...decodeDelta({ kind: "top_k", share: 0.5 }, bytes, vector(6))]).toEqual([0, -3, 0, 2, 2, 0]);
  expect([...residual]).toEqual([0.5, 0, 0, 0, 0, -2]);
});

test("top-k keeps at least one value, and none of a delta that is zero", () => {
  expect([...roundTrip({ kind: "top_k", share: 0.01 }, floats(1, 5, 2))]).toEqual([0, 5, 0]);
  expect([...encode({ kind: "top_k", share: 0.5 }, floats(0, 0, 0)).bytes]).toEqual([0, 0, 0, 0, 0]);
  expect([...encode({ kind: "top_k_int8", share: 0.5 }, floats(0, 0)).bytes]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test("top-k of everything is the whole delta", () => {
  fc.assert(
    fc.property(deltas(-100, 100), (delta) => {
      const decoded = roundTrip({ kind: "top_k", share: 1 }, delta);
      expect(decoded).toEqual(negated(negated(delta)));
    }),
    { seed: 4 },
  );
});

test.each(named)(
  "what is decoded from 50 updates in %s adds up to the updates but for the last residual",
  (_, codec) => {
    const parameters = 40;
    const update = fc.float32Array({ minLength: parameters, maxLength: parameters, min: -1, max: 1, noNaN: true });
    fc.assert(
      fc.property(fc.array(update, { minLength: 50, maxLength: 50 }), (updates) => {
        const layout = vector(parameters);
        let residual: Float32Array = zeros(layout);
        const missing = new Float64Array(parameters);
        for (const delta of updates) {
          const encoded = encodeDelta(codec, delta, layout, residual);
          residual = encoded.residual;
          decodeDelta(codec, encoded.bytes, layout).forEach((value, i) => {
            missing[i] = Number(missing[i]) + Number(delta[i]) - value;
          });
        }
        missing.forEach((value, i) => {
          expect(value).toBeCloseTo(Number(residual[i]), 4);
        });
        // Karimireddy et al. 2019, Lemma 3: the residual stays bounded, here for a tenth kept, however many the updates.
        const squaredNorm = (values: ArrayLike<number>) =>
          Array.from(values).reduce((sum, value) => sum + value ** 2, 0);
        const largest = Math.max(...updates.map(squaredNorm));
        expect(squaredNorm(residual)).toBeLessThanOrEqual(((4 * (1 - 0.1)) / 0.1 ** 2) * largest);
      }),
      { seed: 5, numRuns: 30 },
    );
  },
);

test.each(named)("a constant delta in %s arrives in full on average", (_, codec) => {
  const delta = normalDelta(100, 7);
  const layout = vector(100);
  let residual: Float32Array = zeros(layout);
  const sum = new Float64Array(100);
  for (let round = 0; round < 400; round++) {
    const encoded = encodeDelta(codec, delta, layout, residual);
    residual = encoded.residual;
    decodeDelta(codec, encoded.bytes, layout).forEach((value, i) => {
      sum[i] = Number(sum[i]) + value;
    });
  }
  sum.forEach((value, i) => {
    expect(Math.abs(value / 400 - Number(delta[i]))).toBeLessThan(0.001);
  });
});

test.each(named)("any bytes are a finite delta in %s or refused as undecodable", (_, codec) => {
  const layout = layOut([
    { name: "a", shape: [3, 4] },
    { name: "b", shape: [5] },
  ]);
  const random = fc.uint8Array({ maxLength: 90 });
  const valid = encode(codec, normalDelta(17, 3), layout).bytes;
  const broken = fc.tuple(fc.nat(valid.length - 1), fc.nat(255), fc.nat(valid.length)).map(([at, byte, length]) => {
    const bytes = valid.slice();
    bytes[at] = byte;
    return length % 3 === 0 ? bytes.slice(0, length) : bytes;
  });
  fc.assert(
    fc.property(fc.oneof(random, broken), (bytes) => {
      try {
        const decoded = decodeDelta(codec, bytes, layout);
        expect(decoded).toHaveLength(17);
        expect(decoded.every(Number.isFinite)).toBe(true);
      } catch (error) {
        if (!(error instanceof UndecodableDeltaError)) throw error;
      }
    }),
    { seed: 6, numRuns: 3000 },
  );
});

test.each(named)("%s refuses a byte too few and a byte too many, and reads from the middle of a buffer", (_, codec) => {
  const { bytes } = encode(codec, normalDelta(857, 2), DEFAULT_LAYOUT);
  const within = new Uint8Array(bytes.length + 2);
  within.set(bytes, 1);
  expect(decodeDelta(codec, within.subarray(1, -1), DEFAULT_LAYOUT)).toEqual(decodeDelta(codec, bytes, DEFAULT_LAYOUT));
  for (const wrong of [bytes.subarray(0, -1), within.subarray(1), bytes.subarray(0, 0)]) {
    expect(() => decodeDelta(codec, wrong, DEFAULT_LAYOUT)).toThrow(UndecodableDeltaError);
  }
});

const NAN32 = [0, 0, 0xc0, 0x7f];
const INFINITY32 = [0, 0, 0x80, 0x7f];
const ONE32 = [0, 0, 0x80, 0x3f];
test.each<[string, DeltaCodec["kind"], number[], RegExp]>([
  ["a NaN", "float32", [...ONE32, ...NAN32], /not finite/],
  ["an infinite half", "float16", [0, 0x7c, 0, 0], /not finite/],
  ["an infinite scale", "int8", [...INFINITY32, 1, 1], /not a scale/],
  ["a NaN scale", "int8", [...NAN32, 1, 1], /not a scale/],
  ["a negative scale", "int8", [0, 0, 0x80, 0xbf, 1, 1], /not a scale/],
  ["a scale whose values overflow", "int8", [0, 0, 0x7f, 0x7f, 1, 1], /not a scale/],
  ["a value of -128", "int8", [...ONE32, 1, 0x80], /-128/],
  ["more values than parameters", "top_k", [3, 0, 0, 0, 0], /3 values for 2 parameters/],
  ["a count beyond memory", "top_k", [0xff, 0xff, 0xff, 0xff, 0], /4294967295 values/],
  ["an index out of range", "top_k", [1, 0, 0, 0, 0, ...ONE32, 0b1100_0000], /index 2 of 2/],
  ["an index far out of range", "top_k_int8", [1, 0, 0, 0, 30, ...ONE32, 1, 0xbf, 0xff, 0xff, 0xfe], /index \d+ of 2/],
  ["a second index out of range", "top_k", [2, 0, 0, 0, 0, ...ONE32, ...ONE32, 0b1000_0000], /index 2 of 2/],
  ["values without indices", "top_k", [1, 0, 0, 0, 0, ...ONE32], /end before/],
  ["an index cut off", "top_k", [1, 0, 0, 0, 0, ...ONE32, 0xff], /end before/],
  ["padding that is not zero", "top_k", [1, 0, 0, 0, 0, ...ONE32, 0b0000_0001], /padded/],
  ["a Rice parameter without meaning", "top_k", [1, 0, 0, 0, 31, ...ONE32, 0], /Rice/],
  ["an infinite value", "top_k", [1, 0, 0, 0, 0, ...INFINITY32, 0], /not finite/],
  ["a NaN scale", "top_k_int8", [1, 0, 0, 0, 0, ...NAN32, 1, 0], /not a scale/],
])("%s in %s is refused by name", (_, kind, bytes, message) => {
  const codec = CODECS.find((each) => each.kind === kind) as DeltaCodec;
  const decode = () => decodeDelta(codec, Uint8Array.from(bytes), vector(2));
  expect(decode).toThrow(UndecodableDeltaError);
  expect(decode).toThrow(message);
});

test("indices only ascend: no bytes name a parameter twice", () => {
  // Two gaps of zero are the indices 0 and 1.
  const bytes = Uint8Array.from([2, 0, 0, 0, 0, ...ONE32, ...ONE32, 0]);
  expect([...decodeDelta({ kind: "top_k", share: 1 }, bytes, vector(2))]).toEqual([1, 1]);
});

test.each(named)("%s refuses to encode what it cannot carry", (_, codec) => {
  const layout = vector(2);
  const attempt = (delta: Float32Array, residual: Float32Array) => () => encodeDelta(codec, delta, layout, residual);
  expect(attempt(floats(1), floats(0, 0))).toThrow(UnencodableDeltaError);
  expect(attempt(floats(1, 1), floats(0))).toThrow(UnencodableDeltaError);
  expect(attempt(floats(Number.NaN, 0), floats(0, 0))).toThrow(UnencodableDeltaError);
  expect(attempt(floats(0, 0), floats(0, Number.NEGATIVE_INFINITY))).toThrow(UnencodableDeltaError);
  expect(attempt(floats(3e38, 0), floats(3e38, 0))).toThrow(UnencodableDeltaError);
});

test("a share of nothing, or of more than all, is out of range", () => {
  for (const share of [0, -1, 1.01, Number.NaN]) {
    expect(() => encode({ kind: "top_k", share }, floats(1, 2))).toThrow(RangeError);
  }
});

/** What it gives, or what it throws. */
const outcome = <Value>(read: () => Value) => {
  try {
    return read();
  } catch (error) {
    if (error instanceof UndecodableDeltaError) return error.message;
    throw error;
  }
};

test.each(named)(
  "the norm of %s bytes is that of the delta they decode to, and the same bytes are refused",
  (_, codec) => {
    const good = encode(codec, normalDelta(857, 5), DEFAULT_LAYOUT).bytes;
    const damage = fc.array(fc.record({ at: fc.nat(good.length - 1), to: fc.integer({ min: 0, max: 255 }) }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(damage, fc.constantFrom(0, 0, 0, 1, -1), (changes, longer) => {
        const bytes = new Uint8Array(good.length + longer);
        bytes.set(good.subarray(0, bytes.length));
        for (const { at, to } of changes) bytes[Math.min(at, bytes.length - 1)] = to;
        const decoded = outcome(() => decodeDelta(codec, bytes, DEFAULT_LAYOUT));
        const norm = outcome(() => deltaNorm(codec, bytes, DEFAULT_LAYOUT));
        if (typeof decoded === "string") expect(norm).toBe(decoded);
        else {
          const length = Math.hypot(...decoded); // of values rounded to float32
          expect(Math.abs(Number(norm) - length)).toBeLessThanOrEqual(1e-6 * length);
        }
      }),
    );
  },
);
