import { expect, test } from "vitest";
import { FrontEnd } from "../../learning/front-end.ts";
import type { ColumnSettings, Manifest } from "../../learning/plan.ts";
import { columnOf, gatedFeatures, manifestOf, mean, rowsOf, std } from "../support/front-end-plan.ts";
import { featuresOf } from "../support/plan-settings.ts";

const WINDOW: ColumnSettings = { kind: "window", rows: 3 };
const MEANS: ColumnSettings = { kind: "means", rows: [1, 8, 32] };
const ROLLING: ColumnSettings = { kind: "rolling", rows: 20, statistics: ["z", "mean", "std"] };
const LAGS: ColumnSettings = { kind: "lags", rows: [1, 7] };
const DIFFERENCES: ColumnSettings = { kind: "differences", rows: [1, 9] };
const MISSING: ColumnSettings = { kind: "missing" };
const ALL = [WINDOW, MEANS, ROLLING, LAGS, DIFFERENCES, MISSING];

const planOf = (...columns: ColumnSettings[]) => manifestOf({ features: featuresOf(...columns) });

/** What the front end makes of a row, a second after the one before it. */
function watched(plan: Manifest) {
  const frontEnd = new FrontEnd(plan);
  let atMs = 0;
  const see = (row: Float64Array): Float32Array | null => {
    atMs += 1000;
    const columns = frontEnd.observe(row, atMs);
    return columns && frontEnd.features(columns);
  };
  return { frontEnd, see };
}

test("each feature is where the plan's columns say and what its definition says", () => {
  const { see } = watched(planOf(...ALL));
  const rows = rowsOf(2, 90, 3, 7);
  const at = 80;
  const features = rows.map(see)[at] as Float32Array;
  for (const c of [0, 1]) {
    const [mu, sigma] = [mean(columnOf(rows.slice(0, 40), c)), std(columnOf(rows.slice(0, 40), c))];
    const before = columnOf(rows.slice(at - 20, at), c);
    const value = (age: number) => rows[at - age]?.[c] as number;
    const distance = (x: number) => Math.asinh((x - mu) / sigma);
    const expected = [
      ...[2, 1, 0].map((age) => distance(value(age))),
      ...[1, 8, 32].map((length) => distance(mean(columnOf(rows.slice(at + 1 - length, at + 1), c)))),
      Math.asinh((value(0) - mean(before)) / Math.max(std(before), 0.1 * sigma)),
      distance(mean(before)),
      Math.log(std(before) / sigma),
      ...[1, 7].map((age) => distance(value(age))),
      ...[1, 9].map((age) => Math.asinh((value(0) - value(age)) / sigma)),
      0,
    ];
    expect(features).toHaveLength(2 * expected.length);
    expected.forEach((feature, block) => {
      expect(features[2 * block + c], `column ${block} of channel ${c}`).toBeCloseTo(feature, 5);
    });
  }
});

test("a plan says up to where a feature grows with its distance", () => {
  const seen = (squash: number) => {
    const features = { ...featuresOf(WINDOW, { kind: "rolling", rows: 20, statistics: ["mean", "std", "z"] }), squash };
    const { see } = watched(manifestOf({ features }));
    return rowsOf(2, 60).map(see).at(-1) as Float32Array;
  };
  const [plain, wide] = [seen(1), seen(4)];
  plain.forEach((feature, at) => {
    // Three rows of a window and a mean are distances; then come the logarithm and z.
    const distance = Math.sinh(feature);
    expect(wide[at]).toBeCloseTo(at < 8 ? 4 * Math.asinh(distance / 4) : feature, 5);
  });
});

test("a quiet channel's deviations are told from a floor, so that its noise makes no events", () => {
  const { see } = watched(planOf({ kind: "rolling", rows: 20, statistics: ["std", "z"] }));
  const rows = rowsOf(1, 40).map(([noise]) => Float64Array.of(noise as number, noise as number));
  for (const row of [...rows, ...Array.from({ length: 20 }, () => Float64Array.of(1, 1))]) see(row);
  const sigma = std(columnOf(rows, 0));
  const [spread, , z] = see(Float64Array.of(1 + sigma, 1)) as Float32Array;
  expect(spread).toBeCloseTo(Math.log(1e-3), 5);
  expect(z).toBeCloseTo(Math.asinh(10), 5);
});

test("commissioning yields no features, and what a column looks back on must have been before it is one", () => {
  const first = (commissioningRows: number, ...columns: ColumnSettings[]) => {
    const { see } = watched(manifestOf({ commissioningRows, features: featuresOf(...columns) }));
    return rowsOf(2, 70).findIndex((row) => see(row) !== null);
  };
  expect(first(40, { kind: "window", rows: 5 })).toBe(40);
  expect(first(40, { kind: "window", rows: 51 }, { kind: "rolling", rows: 20, statistics: ["std"] })).toBe(50);
  expect(first(0, { kind: "window", rows: 1 }, { kind: "rolling", rows: 20, statistics: ["z"] })).toBe(1);
  expect(first(0, { kind: "means", rows: [64, 8] })).toBe(63);
  expect(first(0, { kind: "lags", rows: [2, 17] })).toBe(17);
  expect(first(0, { kind: "differences", rows: [60] }, { kind: "missing" })).toBe(60);
  expect(first(0, { kind: "missing" })).toBe(0);
});

test("over a gated baseline the rows of commissioning have columns too, as soon as those look far enough back", () => {
  const { see } = watched(manifestOf({ features: gatedFeatures({}, { kind: "means", rows: [8, 32] }) }));
  expect(rowsOf(2, 60).findIndex((row) => see(row) !== null)).toBe(31);
});

test("a row is no part of its own rolling statistics", () => {
  const plan = planOf({ kind: "rolling", rows: 20, statistics: ["mean", "std"] });
  const answer = (last: Float64Array) => {
    const { see } = watched(plan);
    for (const row of rowsOf(2, 70)) see(row);
    return see(last);
  };
  expect(answer(Float64Array.of(1e6, -1e6))).toEqual(answer(Float64Array.of(0, 0)));
});

test("learned rows change features only from the freeze on", () => {
  const { frontEnd, see } = watched(planOf({ kind: "window", rows: 1 }));
  for (const row of rowsOf(2, 40)) see(row);
  const probe = Float64Array.of(1, 1);
  const before = see(probe) as Float32Array;
  for (const row of rowsOf(2, 40, 1, 4, 2)) frontEnd.learn(row, 0);
  expect(see(probe)).toEqual(before);
  const [low] = frontEnd.expected(0);
  frontEnd.freeze();
  expect((see(probe) as Float32Array)[0]).toBeLessThan(before[0] as number);
  const [lowThen, highThen] = frontEnd.expected(0);
  expect((lowThen + highThen) / 2).toBeGreaterThan((low + 3) / 2);
});

test.each([
  ["a normaliser", featuresOf(...ALL)],
  ["a gated baseline", gatedFeatures({ memoryRows: 30 }, ...ALL)],
  ["a season", { ...gatedFeatures({}, ...ALL), season: { period: "day", bins: 24 } as const }],
])("features do not depend on the channel's unit: %s", (_, features) => {
  const plan = manifestOf({ features });
  for (const unit of [1e9, 1e-3]) {
    const [plain, scaled] = [watched(plan), watched(plan)];
    let compared = 0;
    for (const row of [...rowsOf(2, 200, 2, 5), ...rowsOf(2, 50, 2, 90, 2)]) {
      const features = plain.see(row);
      const same = scaled.see(row.map((value) => unit * value));
      features?.forEach((feature, i) => {
        expect(same?.[i]).toBeCloseTo(feature, 4);
        compared++;
      });
    }
    expect(compared).toBeGreaterThan(1000);
  }
});

test.each([
  ["a normaliser", featuresOf(WINDOW, MEANS, ROLLING, DIFFERENCES)],
  ["a gated baseline", gatedFeatures({}, WINDOW, MEANS, ROLLING, DIFFERENCES)],
])("every finite row gives finite features: %s", (_, features) => {
  const { frontEnd, see } = watched(manifestOf({ channelCount: 4, features }));
  const extremes = [1e12, -1e12, 0, Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE];
  rowsOf(1, 400).forEach(([noise], i) => {
    const extreme = i % 7 === 0 ? (extremes[(i / 7) % extremes.length] as number) : 0;
    const row = Float64Array.of(42, 1e9 + (noise as number), extreme, i < 200 ? 0 : 1e12);
    const features = see(row);
    if (features !== null) expect(features.every(Number.isFinite), `row ${i}`).toBe(true);
    frontEnd.learn(row, 1000 * i);
    frontEnd.freeze();
  });
});

test("a row that is not usable is refused and changes nothing", () => {
  const { frontEnd, see } = watched(planOf(WINDOW, ROLLING));
  for (const row of rowsOf(2, 50)) see(row);
  const before = frontEnd.snapshot();
  for (const bad of [[1], [1, 2, 3], [1, Number.NaN], [Number.POSITIVE_INFINITY, 1]]) {
    expect(() => frontEnd.observe(Float64Array.from(bad), 0)).toThrow(RangeError);
  }
  expect(frontEnd.snapshot()).toEqual(before);
});

test("a manifest whose feature count does not follow from it is refused", () => {
  expect(() => new FrontEnd({ ...planOf(WINDOW, ROLLING), featureCount: 5 })).toThrow(RangeError);
});

test("one row alone says nothing and breaks nothing", () => {
  for (const features of [featuresOf(MISSING, ROLLING), gatedFeatures({}, MISSING, MEANS)]) {
    const { frontEnd, see } = watched(manifestOf({ features }));
    expect(see(Float64Array.of(3, Number.NaN))).toBeNull();
    expect(frontEnd.commissioned).toBe(false);
    frontEnd.freeze();
    frontEnd.learn(Float64Array.of(3, 4), 0);
    expect([0, 1].flatMap((c) => frontEnd.expected(c)).every(Number.isFinite)).toBe(true);
    expect([...frontEnd.ownScales()]).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  }
});
