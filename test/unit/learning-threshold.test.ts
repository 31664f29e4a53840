import { expect, test } from "vitest";
import { contributors } from "../../learning/contributors.ts";
import { percentile, quantile } from "../../learning/threshold.ts";

test("quantiles are linear between order statistics, from values in any order", () => {
  const values = Float32Array.of(40, 10, 30, 20);
  expect([0, 1 / 3, 0.5, 0.75, 1].map((q) => quantile(values, q))).toEqual([10, 20, 25, 32.5, 40]);
  expect([...values]).toEqual([40, 10, 30, 20]);
  expect(quantile([7], 0.99)).toBe(7);
});

test("a quantile that does not exist is refused", () => {
  expect(() => quantile([], 0.5)).toThrow(RangeError);
  expect(() => quantile([1, Number.NaN], 0.5)).toThrow(RangeError);
  for (const q of [-0.1, 1.1, Number.NaN]) expect(() => quantile([1, 2], q)).toThrow(RangeError);
});

test("the percentile counts the normal scores that were reached, and is never certain", () => {
  const sorted = [1, 2, 2, 3];
  expect([0, 1, 2, 2.5, 3, 99].map((score) => percentile(sorted, score))).toEqual([0, 0.2, 0.6, 0.6, 0.8, 0.8]);
  expect(percentile([], 1)).toBe(0);
});

test("contributors share the residual by channel", () => {
  expect(contributors(Float32Array.of(1, 2, 5, 0), [0, 1, 0, 2], 4)).toEqual([0.75, 0.25, 0, 0]);
});

test("without a residual nothing contributes", () => {
  expect(contributors(new Float32Array(2), [0, 1], 2)).toEqual([0, 0]);
  expect(contributors(Float32Array.of(Number.NaN, 1), [0, 1], 2)).toEqual([0, 0]);
  expect(() => contributors(Float32Array.of(1), [0, 1], 2)).toThrow(RangeError);
});
