import fc from "fast-check";
import { expect, test } from "vitest";
import {
  applyDelta,
  cosine,
  EmptyRoundError,
  InvalidRoundError,
  weightedMean,
} from "../../learning/aggregation/fedavg.ts";
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";

const floats = (...values: number[]) => Float32Array.from(values);

test("the mean is weighted by what each update was learned from", () => {
  const mean = weightedMean([floats(1, -2), floats(4, 6), floats(0, 0)], [100, 50, 50]);
  expect([...mean]).toEqual([1.5, 0.5]);
});

test("an update of weight zero does not count", () => {
  expect([...weightedMean([floats(1, 2), floats(9, 9)], [3, 0])]).toEqual([1, 2]);
});

const round = fc.integer({ min: 1, max: 6 }).chain((parameters) =>
  fc.array(
    fc.record({
      delta: fc.float32Array({ minLength: parameters, maxLength: parameters, min: -100, max: 100, noNaN: true }),
      weight: fc.integer({ min: 1, max: 10_000 }),
    }),
    { minLength: 1, maxLength: 12 },
  ),
);

test("the order of the updates does not matter", () => {
  fc.assert(
    fc.property(round, (updates) => {
      const mean = (list: typeof updates) =>
        weightedMean(
          list.map((u) => u.delta),
          list.map((u) => u.weight),
        );
      const reversed = mean([...updates].reverse());
      mean(updates).forEach((value, i) => {
        expect(value).toBeCloseTo(reversed[i] as number, 4);
      });
    }),
    { seed: 1 },
  );
});

test("equal deltas give themselves, and every mean lies between its deltas", () => {
  fc.assert(
    fc.property(round, (updates) => {
      const [first] = updates;
      const weights = updates.map((u) => u.weight);
      const same = weightedMean(
        updates.map(() => (first as (typeof updates)[0]).delta),
        weights,
      );
      same.forEach((value, i) => {
        expect(value).toBeCloseTo(first?.delta[i] as number, 4);
      });
      weightedMean(
        updates.map((u) => u.delta),
        weights,
      ).forEach((value, i) => {
        const column = updates.map((u) => u.delta[i] as number);
        expect(value).toBeGreaterThanOrEqual(Math.min(...column) - 1e-4);
        expect(value).toBeLessThanOrEqual(Math.max(...column) + 1e-4);
      });
    }),
    { seed: 2 },
  );
});

test("a round without updates cannot be combined", () => {
  expect(() => weightedMean([], [])).toThrow(EmptyRoundError);
});

test.each([
  ["weights that sum to zero", [floats(1), floats(2)], [0, 0]],
  ["a negative weight", [floats(1), floats(2)], [-1, 2]],
  ["a negative weight sum", [floats(1), floats(2)], [-1, -2]],
  ["a NaN weight", [floats(1), floats(2)], [Number.NaN, 2]],
  ["an infinite weight", [floats(1), floats(2)], [Number.POSITIVE_INFINITY, 2]],
  ["a weight missing", [floats(1), floats(2)], [1]],
  ["deltas of different lengths", [floats(1), floats(2, 3)], [1, 1]],
  ["a NaN in a delta", [floats(1), floats(Number.NaN)], [1, 1]],
  ["an infinity in a delta", [floats(Number.NEGATIVE_INFINITY), floats(1)], [1, 0]],
])("%s is refused", (_, deltas, weights) => {
  expect(() => weightedMean(deltas, weights)).toThrow(InvalidRoundError);
});

test("a delta moves a copy of the base", () => {
  const base = floats(1, 2);
  expect([...applyDelta(base, floats(0.5, -2))]).toEqual([1.5, 0]);
  expect([...base]).toEqual([1, 2]);
  expect(() => applyDelta(base, floats(1))).toThrow(InvalidRoundError);
  expect(() => applyDelta(floats(3e38), floats(3e38))).toThrow(InvalidRoundError);
});

test("the cosine says how far two deltas agree, and nothing about a zero one", () => {
  expect(cosine(floats(1, 2), floats(2, 4))).toBeCloseTo(1, 12);
  expect(cosine(floats(1, 2), floats(-1, -2))).toBeCloseTo(-1, 12);
  expect(cosine(floats(1, 0), floats(0, 5))).toBe(0);
  expect(cosine(floats(0, 0), floats(1, 1))).toBeNull();
  expect(() => cosine(floats(1), floats(1, 2))).toThrow(InvalidRoundError);
});

test("an update counts less the more champions have passed since its base", () => {
  expect([0, 1, 3, 8].map(stalenessWeight)).toEqual([1, 1 / Math.sqrt(2), 0.5, 1 / 3]);
  expect(() => stalenessWeight(-1)).toThrow(RangeError);
  expect(() => stalenessWeight(Number.NaN)).toThrow(RangeError);
});
