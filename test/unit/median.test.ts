import fc from "fast-check";
import { expect, test } from "vitest";
import { median } from "../../learning/aggregation/median.ts";

/** As its definition says. */
function middleOfSorted(values: readonly number[]): number {
  const sorted = Float32Array.from(values).sort();
  return (Number(sorted[(sorted.length - 1) >> 1]) + Number(sorted[sorted.length >> 1])) / 2;
}

const few = fc.constantFrom(-1, 0, 1, 2);
const any = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1_024, max: 1_024 });

test("the median is the middle of what is sorted, whatever the order, the count and the ties", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(few, any), { minLength: 1, maxLength: 200 }), (values) => {
      expect(median(Float32Array.from(values))).toBe(middleOfSorted(values) + 0);
    }),
    { seed: 1, numRuns: 2_000 },
  );
});

test("zeros of either sign have the same median in either order", () => {
  expect(median(Float32Array.of(-0, 0, -0))).toBe(0);
  expect(median(Float32Array.of(-0, -0))).toBe(0);
});

/** Made against this very way of narrowing, by its comparisons: McIlroy 1999, A Killer Adversary for Quicksort. */
const SLOW_TO_NARROW = [
  1, 2, 48, 50, 4, 51, 6, 52, 8, 53, 10, 54, 12, 55, 14, 56, 16, 57, 18, 58, 20, 59, 22, 60, 24, 61, 26, 62, 28, 63, 30,
  64, 32, 65, 34, 66, 36, 67, 38, 68, 40, 69, 42, 70, 44, 71, 46, 0, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
  31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90,
  91, 92, 93, 94, 95,
];

test("values that were ordered to be narrowed slowly have their median too", () => {
  expect(median(Float32Array.from(SLOW_TO_NARROW))).toBe(middleOfSorted(SLOW_TO_NARROW));
});
