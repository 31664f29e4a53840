import { expect, test } from "vitest";
import { FrontEnd, mayLackChannels } from "../../learning/front-end.ts";
import { StreamingNormaliser } from "../../learning/normaliser.ts";
import type { ColumnSettings, FeatureSettings } from "../../learning/plan.ts";
import { columnOf, gatedFeatures, manifestOf, mean, rowsOf, std } from "../support/front-end-plan.ts";
import { featuresOf } from "../support/plan-settings.ts";

const COLUMNS: ColumnSettings[] = [
  { kind: "window", rows: 2 },
  { kind: "means", rows: [4, 16] },
  { kind: "rolling", rows: 10, statistics: ["mean", "std", "z"] },
  { kind: "lags", rows: [3] },
  { kind: "differences", rows: [5] },
  { kind: "missing" },
];
const REFERENCES: [string, (...columns: ColumnSettings[]) => FeatureSettings][] = [
  ["normaliser", featuresOf],
  ["gated baseline", (...columns) => gatedFeatures({}, ...columns)],
];

/** Features of each row, and the front end after them; every row is learned. */
function run(features: FeatureSettings, rows: readonly Float64Array[], commissioningRows = 40) {
  const frontEnd = new FrontEnd(manifestOf({ features, commissioningRows }));
  const seen = rows.map((row, second) => {
    const columns = frontEnd.observe(row, 1000 * second);
    frontEnd.learn(row, 1000 * second);
    return columns && frontEnd.features(columns);
  });
  return { frontEnd, seen };
}

const lacking = (rows: readonly Float64Array[], lacks: (row: number) => boolean) =>
  rows.map((row, index) => (lacks(index) ? Float64Array.of(row[0] as number, Number.NaN) : row));

/** Of channel 1, whose columns are every second; -0 is 0. */
const ofSecond = (features: Float32Array | null | undefined) =>
  features && [...features].filter((_, at) => at % 2 === 1).map((feature) => feature + 0);

test("rows may lack channels where the plan has columns that say so, and only there", () => {
  expect(mayLackChannels(featuresOf(...COLUMNS))).toBe(true);
  const features = featuresOf(...COLUMNS.slice(0, -1));
  expect(mayLackChannels(features)).toBe(false);
  expect(() => run(features, [Float64Array.of(1, Number.NaN)])).toThrow(RangeError);
});

test("infinite values are refused everywhere", () => {
  expect(() => run(featuresOf(...COLUMNS), [Float64Array.of(1, Number.POSITIVE_INFINITY)])).toThrow(RangeError);
});

test.each(REFERENCES)(
  "a missing value is flagged and counts as the channel's last reading: %s",
  (reference, featuresFor) => {
    const rows = rowsOf(2, 80, 2, 50);
    const lacks = (row: number) => row >= 60 && row % 3 === 0;
    const gaps = run(featuresFor(...COLUMNS), lacking(rows, lacks)).seen;
    const held = rows.map((row, at) => Float64Array.of(row[0] as number, rows[lacks(at) ? at - 1 : at]?.[1] as number));
    const filled = run(featuresFor(...COLUMNS), held).seen;
    for (let row = 60; row < 80; row++) {
      const [with_, without] = [ofSecond(gaps[row]), ofSecond(filled[row])];
      expect(with_?.at(-1)).toBe(lacks(row) ? 1 : 0);
      // A gated level is moved by readings alone, so it is a little elsewhere.
      const digits = reference === "normaliser" ? 6 : 0;
      with_?.slice(0, -1).forEach((feature, at) => {
        expect(feature).toBeCloseTo(without?.[at] as number, digits);
      });
    }
  },
);

test.each(REFERENCES)("gaps change nothing of the other channel's features: %s", (_, featuresFor) => {
  const rows = rowsOf(2, 120, 2, 50);
  const ofFirst = ({ seen }: ReturnType<typeof run>) =>
    seen.map((features) => features && [...features].filter((__, at) => at % 2 === 0));
  const gaps = run(
    featuresFor(...COLUMNS),
    lacking(rows, (row) => row < 20 || row % 4 === 0),
  );
  expect(ofFirst(gaps)).toEqual(ofFirst(run(featuresFor(...COLUMNS), rows)));
});

test.each(REFERENCES)(
  "a channel that commissioning hardly saw says nothing but that it is there: %s",
  (_, featuresFor) => {
    const rows = rowsOf(2, 200, 5, 1e6);
    const seenIn = (from: number) =>
      run(
        featuresFor(...COLUMNS),
        lacking(rows, (row) => row < from),
      );
    const never = seenIn(1000);
    const late = seenIn(100);
    // 29 of the 30 rows of commissioning that are asked for.
    const hardly = seenIn(11);
    for (const { seen, frontEnd } of [never, late, hardly]) {
      expect(frontEnd.ownScales()[1]).toBe(Number.POSITIVE_INFINITY);
      expect(frontEnd.expected(1).every(Number.isFinite)).toBe(true);
      for (const features of seen) expect(features?.every(Number.isFinite)).not.toBe(false);
    }
    const quiet = ofSecond(never.seen[150])?.slice(0, -1);
    expect(quiet).toEqual([0, 0, 0, 0, 0, Math.fround(Math.log(1e-3)), 0, 0, 0]);
    expect(ofSecond(never.seen[150])?.at(-1)).toBe(1);
    for (const { seen } of [late, hardly]) expect(ofSecond(seen[150])).toEqual([...(quiet ?? []), 0]);
    const enough = seenIn(10);
    expect(enough.frontEnd.ownScales()[1]).toBeLessThan(100);
    expect(ofSecond(enough.seen[150])?.slice(0, -1)).not.toEqual(quiet);
  },
);

test.each(REFERENCES)(
  "a channel's first reading is no event: it was there before, as if at that value: %s",
  (_, featuresFor) => {
    const features = featuresFor(
      { kind: "window", rows: 64 },
      { kind: "means", rows: [64] },
      { kind: "rolling", rows: 64, statistics: ["mean", "std", "z"] },
      { kind: "differences", rows: [60] },
      { kind: "missing" },
    );
    const rows = lacking(rowsOf(2, 120, 1, 1e6), (row) => row < 25);
    const { frontEnd, seen } = run(features, rows, 60);
    expect(frontEnd.ownScales()[1]).toBeLessThan(5);
    expect(Math.abs(mean(frontEnd.expected(1)) - 1e6)).toBeLessThan(2);
    // Distances of a few scales, not of a million.
    for (const told of seen.slice(64)) expect(Math.max(...(ofSecond(told) ?? []).map(Math.abs))).toBeLessThan(5);
  },
);

test("the normaliser knows a channel by its readings, not by what filled its gaps", () => {
  const rows = rowsOf(2, 1000, 3, 20);
  const normaliser = new StreamingNormaliser(2, 2000);
  for (const [at, row] of rows.entries()) normaliser.learn(row, Uint8Array.of(1, at % 10 === 0 ? 1 : 0));
  normaliser.freeze();
  const readings = columnOf(rows, 1).filter((__, at) => at % 10 === 0);
  expect(normaliser.level[1]).toBeCloseTo(mean(readings), 9);
  expect(normaliser.scale[1]).toBeCloseTo(std(readings), 9);
});

test("a row that lacks everything is one in which every channel kept its value", () => {
  const rows = rowsOf(2, 60, 2, 50);
  const { seen } = run(featuresOf(...COLUMNS), [...rows, Float64Array.of(Number.NaN, Number.NaN)]);
  const [last, before] = [seen.at(-1), seen.at(-2)];
  expect([...(last ?? [])].slice(-2)).toEqual([1, 1]);
  expect([...(last ?? [])].slice(2, 4)).toEqual([...(before ?? [])].slice(2, 4));
});
