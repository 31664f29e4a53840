import fc from "fast-check";
import { expect, test } from "vitest";
import { prAuc } from "../../learning/metrics.ts";
import { seededRandom } from "../../learning/random.ts";
import { vusPr } from "../../learning/vus.ts";

const run = (labels: number[], scores: number[]) => ({
  labels: Uint8Array.from(labels),
  scores: Float64Array.from(scores),
});
const vus = (labels: number[], scores: number[], maxBufferRows: number, intervals = 10) =>
  vusPr([run(labels, scores)], { maxBufferRows, intervals });

test("a hand-computed case: one event row, buffers of 0, 1 and 2 rows", () => {
  // Buffers 0 and 1 have no slopes: the event row is first, area 1. Buffer 2 gives weights √½, 1, √½, 0 and
  // P = (1 + 1 + 2√½) / 2 = 1 + √½. The first row: recall 1/P at precision 1; the second: TP = P, recall 1 at P/2.
  const mass = 1 + Math.SQRT1_2;
  const withSlopes = 1 / mass + (1 - 1 / mass) * (mass / 2);
  expect(vus([0, 1, 0, 0], [0.1, 0.9, 0.5, 0.2], 2)).toBeCloseTo((1 + 1 + withSlopes) / 3, 12);
});

test("an event that is not found holds recall down by its share, whatever its rows", () => {
  // Six event rows in two events; the long one's rows rank first: recall 5/6 · ½, then the last event row at rank 8.
  const labels = [1, 1, 1, 1, 1, 0, 0, 1];
  const scores = [9, 9, 9, 9, 9, 5, 5, 1];
  expect(vus(labels, scores, 0)).toBeCloseTo(5 / 12 + (7 / 12) * (6 / 8), 12);
});

test("events whose slopes meet are one", () => {
  // Buffer 2: weights 1, √½ + √½ → 1, 1, √½, 0; P = (2 + 3 + √½) / 2; one region. Rows by score: 0, 4, 1, 2, 3.
  const mass = (5 + Math.SQRT1_2) / 2;
  const area = (1 / mass) * 1 + (1 / mass) * (2 / 3) + (1 - 2 / mass) * (3 / 4);
  const onlyTwo = vus([1, 0, 1, 0, 0], [9, 7, 6, 1, 8], 2, 1) as number;
  const none = vus([1, 0, 1, 0, 0], [9, 7, 6, 1, 8], 0) as number;
  expect(onlyTwo).toBeCloseTo((none + area) / 2, 12);
});

test("tied scores gain nothing: a constant score has the events' share as its area", () => {
  expect(vus([0, 0, 1, 0], [3, 3, 3, 3], 0)).toBeCloseTo(0.25, 12);
  const soft = 1 + 2 * Math.SQRT1_2;
  expect(vus([0, 0, 1, 0], [3, 3, 3, 3], 2, 1)).toBeCloseTo((0.25 + soft / 4) / 2, 12);
});

test("scores high just beside the event are forgiven, the more the longer the buffer", () => {
  const labels = Array.from({ length: 400 }, (_, row) => (row >= 200 && row < 240 ? 1 : 0));
  const late = Array.from({ length: 400 }, (_, row) => (row >= 210 && row < 250 ? 1 : 0));
  const astray = Array.from({ length: 400 }, (_, row) =>
    (row >= 210 && row < 240) || (row >= 300 && row < 310) ? 1 : 0,
  );
  const [forgiven, none, elsewhere] = [vus(labels, late, 40), vus(labels, late, 0), vus(labels, astray, 40)];
  expect(forgiven).toBeGreaterThan((none as number) + 0.05);
  expect(forgiven).toBeGreaterThan((elsewhere as number) + 0.05);
  expect(none).toBeCloseTo(vus(labels, astray, 0) as number, 12);
});

test("slopes do not reach into the next run", () => {
  const before = run([0, 0, 1], [1, 2, 9]);
  const after = run([0, 0, 0], [8, 1, 1]);
  const joined = vusPr([run([0, 0, 1, 0, 0, 0], [1, 2, 9, 8, 1, 1])], { maxBufferRows: 2, intervals: 1 });
  const apart = vusPr([before, after], { maxBufferRows: 2, intervals: 1 });
  expect(apart).toBeLessThan(joined as number);
  expect(vusPr([before, after], { maxBufferRows: 0 })).toBe(1);
});

test("what cannot be measured is null, and what cannot be computed is refused", () => {
  expect(vus([0, 0], [1, 2], 4)).toBeNull();
  expect(vus([1, 1], [1, 2], 4)).toBeNull();
  expect(vusPr([], { maxBufferRows: 4 })).toBeNull();
  expect(() => vus([0, 1], [1, Number.NaN], 4)).toThrow(RangeError);
  expect(() => vus([0, 1], [1], 4)).toThrow(RangeError);
  expect(() => vus([0, 1], [1, 2], 1.5)).toThrow(RangeError);
  expect(() => vus([0, 1], [1, 2], -1)).toThrow(RangeError);
  expect(() => vus([0, 1], [1, 2], 4, 0)).toThrow(RangeError);
});

test("infinite scores rank first and last", () => {
  const { POSITIVE_INFINITY: most, NEGATIVE_INFINITY: least } = Number;
  expect(vus([0, 1, 1, 0], [least, most, most, 3], 0)).toBe(1);
});

/** The definition, one threshold at a time. */
function bruteForce(labels: number[], scores: number[], buffers: number[]): number {
  const areas = buffers.map((buffer) => {
    const soft = labels.map((label, row) => {
      if (label) return 1;
      let weight = 0;
      labels.forEach((other, at) => {
        const near = Math.abs(row - at) <= Math.floor(buffer / 2);
        const isEdge = other === 1 && labels[at < row ? at + 1 : at - 1] !== 1;
        if (near && isEdge) weight += Math.sqrt(1 - Math.abs(row - at) / buffer);
      });
      return Math.min(1, weight);
    });
    const region = soft.map(
      (_, row) => soft.slice(0, row + 1).filter((w, i) => w > 0 && !((soft[i - 1] ?? 0) > 0)).length,
    );
    const regions = region.at(-1) as number;
    const total = (list: number[]) => list.reduce((a, b) => a + b, 0);
    const mass = (total(labels) + total(soft)) / 2;
    let [area, before] = [0, 0];
    for (const threshold of [...new Set(scores)].sort((a, b) => b - a)) {
      const marked = scores.flatMap((score, row) => (score >= threshold ? [row] : []));
      const tp = total(marked.map((row) => soft[row] as number));
      const found = new Set(marked.filter((row) => (soft[row] as number) > 0).map((row) => region[row])).size;
      const recall = Math.min(1, tp / mass) * (found / regions);
      area += (recall - before) * (tp / marked.length);
      before = recall;
    }
    return area;
  });
  return areas.reduce((a, b) => a + b, 0) / areas.length;
}

const rows = fc
  .array(fc.tuple(fc.constantFrom(0, 0, 0, 1), fc.integer({ min: -5, max: 5 })), { minLength: 2, maxLength: 30 })
  .filter((given) => new Set(given.map(([label]) => label)).size === 2);

test("the volume agrees with the definition taken threshold by threshold", () => {
  fc.assert(
    fc.property(rows, (given) => {
      const labels = given.map(([label]) => label as number);
      const scores = given.map(([, score]) => score / 3);
      const volume = vus(labels, scores, 8, 4) as number;
      expect(volume).toBeCloseTo(bruteForce(labels, scores, [0, 2, 4, 6, 8]), 10);
      expect(volume).toBeGreaterThanOrEqual(0);
      expect(volume).toBeLessThanOrEqual(1 + 1e-12);
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("with one event and no buffer it is average precision; any monotone change of the scores changes nothing", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 12, maxLength: 40 }), (scores) => {
      const labels = scores.map((_, row) => (row >= 5 && row < 9 ? 1 : 0));
      expect(vus(labels, scores, 0)).toBeCloseTo(
        prAuc(Float64Array.from(scores), Uint8Array.from(labels)) as number,
        12,
      );
      expect(vus(labels, scores, 6)).toBe(
        vus(
          labels,
          scores.map((score) => score ** 3 + 7),
          6,
        ),
      );
    }),
    { seed: 2 },
  );
});

test("noise scores about the events' share, a signal close to 1, over 10,000 rows", () => {
  const random = seededRandom(3);
  const labels = Array.from({ length: 10_000 }, (_, row) => (row % 1000 >= 800 ? 1 : 0));
  const noise = labels.map(() => random.next());
  const signal = labels.map((label, row) => 3 * label + (noise[row] as number));
  expect(Math.abs((vus(labels, noise, 40) as number) - 0.2)).toBeLessThan(0.03);
  expect(vus(labels, signal, 40)).toBeGreaterThan(0.95);
});
