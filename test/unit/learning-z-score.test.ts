import { expect, test } from "vitest";
import { seededRandom } from "../../learning/random.ts";
import { RobustZScore, Z_THRESHOLD } from "../../learning/z-score.ts";

const median = (values: number[]) => {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[upper] as number)
    : ((sorted[upper - 1] as number) + (sorted[upper] as number)) / 2;
};

test("the first rows only warm up", () => {
  const detector = new RobustZScore(1);
  const random = seededRandom(1);
  const scored = Array.from({ length: 31 }, () => detector.score(Float64Array.of(random.normal())) !== null);
  expect(scored.indexOf(true)).toBe(30);
});

test("z is taken against the median and MAD of the rows before, also while rows leave", () => {
  const random = seededRandom(2);
  const rows = Array.from({ length: 260 }, () => [random.normal(), Math.round(3 * random.normal())]);
  const detector = new RobustZScore(2, 50, 7);
  rows.forEach((row, i) => {
    const scored = detector.score(Float64Array.from(row));
    if (scored === null) return;
    row.forEach((value, c) => {
      const before = rows.slice(Math.max(0, i - 50), i).map((r) => r[c] as number);
      const middle = median(before);
      const mad = median(before.map((v) => Math.abs(v - middle)));
      expect(scored.z[c]).toBeCloseTo((value - middle) / (1.4826 * mad), 9);
    });
    expect(scored.score).toBe(Math.max(...scored.z.map(Math.abs)));
  });
});

test("a jump is over the threshold and a third of outliers does not hide it", () => {
  const detector = new RobustZScore(1);
  const random = seededRandom(3);
  for (let i = 0; i < 99; i++) detector.score(Float64Array.of(i % 3 === 0 ? 1e6 : random.normal()));
  expect(detector.score(Float64Array.of(20))?.score).toBeGreaterThan(Z_THRESHOLD);
  expect(detector.score(Float64Array.of(1))?.score).toBeLessThan(Z_THRESHOLD);
});

test("where most readings are equal, the mean deviation stands in for the MAD", () => {
  const detector = new RobustZScore(1, 100, 30);
  for (let i = 0; i < 100; i++) detector.score(Float64Array.of(i % 10 === 0 ? 21.1 : 21));
  const [low, high] = detector.expected(0) as [number, number];
  expect(low).toBeCloseTo(21 - 3 * 1.2533 * 0.01, 9);
  expect(high).toBeCloseTo(21 + 3 * 1.2533 * 0.01, 9);
});

test("constant, huge and tiny channels give finite scores", () => {
  const detector = new RobustZScore(3);
  for (let i = 0; i < 50; i++) detector.score(Float64Array.of(5, 1e12, 0));
  const calm = detector.score(Float64Array.of(5, 1e12, 0));
  expect(calm?.score).toBe(0);
  const wild = detector.score(Float64Array.of(-Number.MAX_VALUE, 1e12 + 1, Number.MIN_VALUE));
  expect(Number.isFinite(wild?.score)).toBe(true);
});

test("a row that cannot be scored is refused and leaves no trace", () => {
  const detector = new RobustZScore(1);
  for (let i = 0; i < 40; i++) detector.score(Float64Array.of(i % 5));
  const before = detector.snapshot();
  expect(() => detector.score(Float64Array.of(Number.NaN))).toThrow(RangeError);
  expect(() => detector.score(Float64Array.of(1, 2))).toThrow(RangeError);
  expect(detector.snapshot()).toEqual(before);
});

test("each row held has a score of its own, against statistics that it is part of", () => {
  const detector = new RobustZScore(2, 4, 2);
  expect(detector.ownScores()).toEqual([]);
  for (const value of [99, 1, 2, 3, 8]) detector.score(Float64Array.of(value, 0));
  // The first row left: median 2.5 and MAD 1 of 1, 2, 3, 8.
  const expected = [0.5, 0.5, 1.5, 5.5].map((deviation) => deviation / 1.4826);
  expect(detector.ownScores().sort((a, b) => a - b)).toEqual(expected.map((score) => expect.closeTo(score, 9)));
});

test("a restored detector goes on bit for bit", () => {
  const random = seededRandom(4);
  const row = () => Float64Array.of(random.normal(), Math.round(random.normal()));
  for (const seen of [10, 160]) {
    const original = new RobustZScore(2);
    for (let i = 0; i < seen; i++) original.score(row());
    const restored = RobustZScore.restore(structuredClone(original.snapshot()), 2);
    for (let i = 0; i < 150; i++) {
      const values = row();
      expect(restored.score(values)).toEqual(original.score(values));
    }
    expect(restored.expected(1)).toEqual(original.expected(1));
  }
});

test("there is nothing to expect before the first row, and no snapshot of another shape is taken", () => {
  const detector = new RobustZScore(3);
  expect(detector.expected(0)).toBeNull();
  for (let i = 0; i < 5; i++) detector.score(Float64Array.of(1, 2, 3));
  expect(() => RobustZScore.restore(detector.snapshot(), 2)).toThrow(RangeError);
});
