import { expect, test } from "vitest";
import { FrontEnd } from "../../learning/front-end.ts";
import type { SeasonSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { Season } from "../../learning/season.ts";
import { gatedFeatures, manifestOf } from "../support/front-end-plan.ts";
import { featuresOf } from "../support/plan-settings.ts";

const HOUR_MS = 3_600_000;
const DAY: SeasonSettings = { period: "day", bins: 24 };
const AT_ZERO = { level: Float64Array.of(0), spread: Float64Array.of(1e6) };

function learned(season: Season, values: readonly number[], atMs: number): number {
  for (const value of values) season.learn(Float64Array.of(value), AT_ZERO, atMs);
  return season.offset(0, atMs);
}

test("a part's offset is the mean of its distances from the level, and of one more that was none", () => {
  const season = new Season(1, DAY);
  expect(season.offset(0, 0)).toBe(0);
  expect(learned(season, [8], 0)).toBe(4);
  expect(learned(season, [1, 3], 0)).toBeCloseTo(12 / 4, 12);
  const level = { level: Float64Array.of(100), spread: Float64Array.of(1) };
  season.learn(Float64Array.of(103), level, HOUR_MS);
  expect(season.offset(0, HOUR_MS)).toBe(1.5);
});

test("each part of the period is learned for itself, the same every day or week", () => {
  const offsets = (settings: SeasonSettings) => {
    const season = new Season(1, settings);
    learned(season, [6], 5 * HOUR_MS + HOUR_MS - 1);
    return [4, 5, 6, 29, 29 - 48, 7 * 24 + 5].map((hour) => season.offset(0, hour * HOUR_MS));
  };
  expect(offsets(DAY)).toEqual([0, 3, 0, 3, 3, 3]);
  expect(offsets({ period: "week", bins: 168 })).toEqual([0, 3, 0, 0, 0, 3]);
});

test("a part forgets beyond 2000 rows, and a wild reading moves it little", () => {
  const season = new Season(1, DAY);
  learned(season, new Array(10_000).fill(0), 0);
  expect(learned(season, new Array(2000).fill(1), 0)).toBeCloseTo(1 - Math.exp(-1), 2);
  const before = season.offset(0, 0);
  season.learn(Float64Array.of(1e12), { level: Float64Array.of(0), spread: Float64Array.of(0.1) }, 0);
  expect(season.offset(0, 0) - before).toBeLessThan(1 / 2000);
});

test("a channel that is missing teaches nothing, whatever the others do", () => {
  const season = new Season(2, DAY);
  season.learn(Float64Array.of(Number.NaN, 4), { level: new Float64Array(2), spread: Float64Array.of(1, 1) }, 0);
  expect([season.offset(0, 0), season.offset(1, 0)]).toEqual([0, 2]);
});

test("a snapshot of another season is refused", () => {
  const { values } = new Season(1, DAY).snapshot();
  expect(() => new Season(2, DAY).adopt({ values })).toThrow(RangeError);
  expect(() => new Season(1, { period: "week", bins: 25 }).adopt({ values })).toThrow(RangeError);
});

/** A reading every ten minutes at level 1000 with a daily swing of ±20 and noise of 1. */
function* swinging(days: number, seed = 1): Generator<{ row: Float64Array; atMs: number; day: number }> {
  const random = seededRandom(seed);
  for (let row = 0; row < days * 144; row++) {
    const atMs = row * 600_000;
    const swing = 20 * Math.sin((2 * Math.PI * row) / 144);
    yield { row: Float64Array.of(1000 + swing + random.normal()), atMs, day: Math.floor(row / 144) };
  }
}

/** The rms over the tenth day of what a front end makes of the swinging channel, in the channel's unit. */
function restOfSwing(features: ReturnType<typeof featuresOf>): number {
  const frontEnd = new FrontEnd(manifestOf({ channelCount: 1, commissioningRows: 288, features }));
  let squares = 0;
  for (const { row, atMs, day } of swinging(10)) {
    const columns = frontEnd.observe(row, atMs);
    frontEnd.learn(row, atMs);
    if (day === 9) squares += Number(columns?.[0]) ** 2;
  }
  return Math.sqrt(squares / 144);
}

test.each([
  ["a normaliser", featuresOf({ kind: "means", rows: [1] })],
  ["a gated baseline", gatedFeatures({ memoryRows: 1000, scaleFromRow: 144 }, { kind: "means", rows: [1] })],
])("once learned, a season no longer is a distance: %s", (_, features) => {
  expect(restOfSwing(features)).toBeGreaterThan(12);
  // Within an hour the swing itself moves by up to 5.
  expect(restOfSwing({ ...features, season: DAY })).toBeLessThan(4);
});

test("a gated baseline's season is learned while commissioning too, once there is a level", () => {
  const features = gatedFeatures({ memoryRows: 1000, scaleFromRow: 144 }, { kind: "means", rows: [1] });
  const plan = manifestOf({ channelCount: 1, commissioningRows: 9 * 144, features: { ...features, season: DAY } });
  const frontEnd = new FrontEnd(plan);
  let squares = 0;
  for (const { row, atMs, day } of swinging(10)) {
    const before = frontEnd.snapshot().season?.values ?? [];
    const columns = frontEnd.observe(row, atMs);
    if (day === 0) expect(before.every((value) => value === 0)).toBe(true);
    if (day === 9) squares += Number(columns?.[0]) ** 2;
  }
  expect(Math.sqrt(squares / 144)).toBeLessThan(4);
});

test("a season takes nothing of the level: parts that were never seen expect the level", () => {
  for (const features of [featuresOf({ kind: "window", rows: 1 }), gatedFeatures({}, { kind: "window", rows: 1 })]) {
    const plan = manifestOf({ channelCount: 1, features: { ...features, season: DAY } });
    const frontEnd = new FrontEnd(plan);
    for (let row = 0; row < 60; row++) {
      const value = Float64Array.of(1000 + (row % 2));
      frontEnd.observe(value, row * 1000);
      frontEnd.learn(value, row * 1000);
    }
    frontEnd.freeze();
    const columns = frontEnd.observe(Float64Array.of(1000.5), 12 * HOUR_MS);
    expect(Math.abs(Number(columns?.[0]))).toBeLessThan(0.5);
  }
});

test("what is expected of a channel is its level and what the time of the last row usually adds", () => {
  const plan = manifestOf({
    channelCount: 1,
    commissioningRows: 288,
    features: { ...featuresOf({ kind: "window", rows: 1 }), season: DAY },
  });
  const frontEnd = new FrontEnd(plan);
  const middles: number[] = [];
  for (const { row, atMs, day } of swinging(10)) {
    frontEnd.observe(row, atMs);
    frontEnd.learn(row, atMs);
    const [low, high] = frontEnd.expected(0);
    if (day === 9) middles.push((low + high) / 2);
  }
  expect(middles[36]).toBeGreaterThan(1013);
  expect(middles[108]).toBeLessThan(987);
});
