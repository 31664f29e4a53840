import fc from "fast-check";
import { expect, test } from "vitest";
import { confusion, f1, prAuc, precision, recall, summarise } from "../../learning/metrics.ts";
import { seededRandom } from "../../learning/random.ts";

const bits = (...values: number[]) => Uint8Array.from(values);

test("the confusion counts every row once", () => {
  expect(confusion(bits(1, 1, 0, 0, 1), bits(1, 0, 1, 0, 1))).toEqual({ tp: 2, fp: 1, fn: 1, tn: 1 });
  expect(() => confusion(bits(1), bits(1, 0))).toThrow(RangeError);
});

test("precision, recall and F1 have their textbook values", () => {
  const counts = { tp: 6, fp: 2, fn: 4, tn: 88 };
  expect(precision(counts)).toBe(0.75);
  expect(recall(counts)).toBe(0.6);
  expect(f1(counts)).toBeCloseTo((2 * 0.75 * 0.6) / (0.75 + 0.6), 12);
});

test("what nobody could measure is null, and a miss is zero", () => {
  const nothing = { tp: 0, fp: 0, fn: 0, tn: 9 };
  expect([precision(nothing), recall(nothing), f1(nothing)]).toEqual([null, null, null]);
  const onlyMissed = { tp: 0, fp: 0, fn: 3, tn: 6 };
  expect([precision(onlyMissed), recall(onlyMissed), f1(onlyMissed)]).toEqual([null, 0, 0]);
  const onlyFalse = { tp: 0, fp: 3, fn: 0, tn: 6 };
  expect([precision(onlyFalse), recall(onlyFalse), f1(onlyFalse)]).toEqual([0, null, 0]);
});

test("average precision of hand-computed rankings", () => {
  expect(prAuc(Float64Array.of(0.9, 0.8, 0.2, 0.1), bits(1, 1, 0, 0))).toBe(1);
  // Positives at ranks 1 and 3: ½ · 1 + ½ · ⅔.
  expect(prAuc(Float64Array.of(4, 3, 2, 1), bits(1, 0, 1, 0))).toBeCloseTo(5 / 6, 12);
  // Last of four: 1 · ¼.
  expect(prAuc(Float64Array.of(4, 3, 2, 1), bits(0, 0, 0, 1))).toBe(0.25);
});

test("rows of equal score are one step of the curve, whatever their order", () => {
  expect(prAuc(new Float64Array(10).fill(7), bits(1, 0, 0, 0, 0, 0, 0, 0, 0, 1))).toBeCloseTo(0.2, 12);
  const a = prAuc(Float64Array.of(3, 2, 2, 1), bits(1, 1, 0, 0));
  const b = prAuc(Float64Array.of(3, 2, 2, 1), bits(1, 0, 1, 0));
  expect(a).toBe(b);
  expect(a).toBeCloseTo(0.5 + 0.5 * (2 / 3), 12);
});

test("average precision without one of the classes, or with a NaN score, is not made up", () => {
  expect(prAuc(Float64Array.of(1, 2), bits(0, 0))).toBeNull();
  expect(prAuc(Float64Array.of(1, 2), bits(1, 1))).toBeNull();
  expect(prAuc(new Float64Array(0), bits())).toBeNull();
  expect(() => prAuc(Float64Array.of(1, Number.NaN), bits(0, 1))).toThrow(RangeError);
  expect(() => prAuc(Float64Array.of(1), bits(0, 1))).toThrow(RangeError);
});

/** One threshold at a time: Σ (recall gained) × precision. */
function bruteForceAveragePrecision(scores: number[], labels: number[]): number {
  const positives = labels.filter(Boolean).length;
  let area = 0;
  let recallBefore = 0;
  for (const threshold of [...new Set(scores)].sort((a, b) => b - a)) {
    const kept = labels.filter((_, i) => (scores[i] as number) >= threshold);
    const tp = kept.filter(Boolean).length;
    area += (tp / positives - recallBefore) * (tp / kept.length);
    recallBefore = tp / positives;
  }
  return area;
}

test("average precision equals trying every threshold", () => {
  const row = fc.tuple(fc.integer({ min: -4, max: 4 }), fc.constantFrom(0, 1));
  fc.assert(
    fc.property(fc.array(row, { minLength: 2, maxLength: 40 }), (rows) => {
      const scores = rows.map(([score]) => score / 3);
      const labels = rows.map(([, label]) => label);
      fc.pre(labels.includes(0) && labels.includes(1));
      expect(prAuc(Float64Array.from(scores), Uint8Array.from(labels))).toBeCloseTo(
        bruteForceAveragePrecision(scores, labels),
        10,
      );
    }),
    { seed: 1 },
  );
});

/** Episodes of 20 anomalous rows, 80 % of them found, beside 5 % false alarms. */
function detections(rows: number, seed: number) {
  const random = seededRandom(seed);
  const labels = Uint8Array.from({ length: rows }, (_, i) => (i % 100 >= 80 ? 1 : 0));
  const predictions = labels.map((label) => (random.next() < (label ? 0.8 : 0.05) ? 1 : 0));
  return { predictions, labels, scores: Float64Array.from(predictions), loss: 0.25 };
}

test("the summary agrees with its parts and passes the loss through", () => {
  const { predictions, labels, scores, loss } = detections(2000, 3);
  const summary = summarise({ predictions, labels, scores, loss });
  const counts = confusion(predictions, labels);
  expect(summary).toMatchObject({ n: 2000, ...counts, loss: 0.25, f1: f1(counts), prAuc: prAuc(scores, labels) });
  const [low, high] = summary.f1Interval as [number, number];
  expect(low).toBeLessThan(summary.f1 as number);
  expect(high).toBeGreaterThan(summary.f1 as number);
});

test("the interval is repeatable by its seed and narrows with more rows", () => {
  const few = detections(1000, 3);
  const interval = (seed: number) => summarise({ ...few, seed }).f1Interval;
  expect(interval(5)).toEqual(interval(5));
  expect(interval(5)).not.toEqual(interval(6));
  const width = ([low, high]: readonly [number, number]) => high - low;
  const many = summarise(detections(16_000, 3)).f1Interval as [number, number];
  expect(width(many)).toBeLessThan(0.5 * width(interval(5) as [number, number]));
});

test("the interval holds the true F1 about as often as it claims", () => {
  // Per 100 rows: tp 16, fn 4, fp 4 on average, so F1 = 2·16 / (2·16 + 4 + 4).
  const held = Array.from({ length: 100 }, (_, seed) => {
    const [low, high] = summarise(detections(2000, seed + 1)).f1Interval as [number, number];
    return low <= 0.8 && 0.8 <= high;
  }).filter(Boolean).length;
  expect(held).toBeGreaterThanOrEqual(85);
});

test("every row can be drawn into a resample, the last one too", () => {
  const labels = new Uint8Array(230);
  labels[229] = 1;
  const summary = summarise({ predictions: labels, labels, scores: Float64Array.from(labels), loss: null });
  expect(summary.f1Interval).toEqual([1, 1]);
});

test("there is no interval from too few rows, nor of an F1 that does not exist", () => {
  expect(summarise(detections(199, 1)).f1Interval).toBeNull();
  const silent = new Uint8Array(500);
  const summary = summarise({ predictions: silent, labels: silent, scores: new Float64Array(500), loss: null });
  expect(summary).toMatchObject({ f1: null, f1Interval: null, loss: null });
});

test("shuffled labels bring F1 down to chance", () => {
  const { predictions, labels, scores } = detections(20_000, 9);
  const random = seededRandom(4);
  const shuffled = labels.slice();
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j] as number, shuffled[i] as number];
  }
  const share = (values: Uint8Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const chance = (2 * share(predictions) * share(labels)) / (share(predictions) + share(labels));
  const honest = summarise({ predictions, labels, scores, loss: null });
  const blind = summarise({ predictions, labels: shuffled, scores, loss: null });
  expect(honest.f1).toBeGreaterThan(0.75);
  expect(Math.abs((blind.f1 as number) - chance)).toBeLessThan(0.02);
  expect(Math.abs((blind.prAuc as number) - share(labels))).toBeLessThan(0.02);
});

test("a perfect ranking of any size has an area of 1, not a rounding more", () => {
  for (let n = 1; n < 60; n++) {
    const labels = Uint8Array.from({ length: 2 * n }, (_, i) => (i < n ? 1 : 0));
    const area = prAuc(
      Float64Array.from(labels, (_, i) => -i),
      labels,
    );
    expect(area).toBeCloseTo(1, 12);
    expect(area).toBeLessThanOrEqual(1);
  }
});
