import { expect, test } from "vitest";
import { featureLayout } from "../../learning/features.ts";
import { FrontEnd } from "../../learning/front-end.ts";
import type { Manifest, PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { TRAINING } from "../support/plan-settings.ts";

function manifest(features: PlanSettings["features"], channels = 2, commissioningRows = 40): Manifest {
  const settings: PlanSettings = {
    channels: Array.from({ length: channels }, (_, i) => ({ name: `c${i}`, unit: "" })),
    commissioningRows,
    normaliserRows: 500,
    features,
    model: { kind: "dense_autoencoder", hidden: [2] },
    training: TRAINING,
    threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 100 },
  };
  const { featureCount } = featureLayout(settings);
  return { ...settings, formatVersion: 1, featureCount, weights: [], residualChannels: [] };
}

function rowsOf(channels: number, count: number, scale = 1, level = 0, seed = 1): Float64Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () =>
    Float64Array.from({ length: channels }, () => level + scale * random.normal()),
  );
}

const column = (rows: Float64Array[], c: number) => rows.map((row) => row[c] as number);
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const std = (values: number[]) => Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));

test("each feature is where the layout says and what its definition says", () => {
  const plan = manifest({ windowRows: 3, rollingRows: 20, rolling: ["z", "mean", "std"] });
  const frontEnd = new FrontEnd(plan);
  const rows = rowsOf(2, 90, 3, 7);
  const seen = rows.map((row) => frontEnd.observe(row));
  const at = 80;
  const features = seen[at] as Float32Array;
  expect(features).toHaveLength(12);
  for (const c of [0, 1]) {
    const [mu, sigma] = [mean(column(rows.slice(0, 40), c)), std(column(rows.slice(0, 40), c))];
    const before = column(rows.slice(at - 20, at), c);
    const value = (index: number) => rows[index]?.[c] as number;
    const expected = [
      Math.asinh((value(at - 2) - mu) / sigma),
      Math.asinh((value(at - 1) - mu) / sigma),
      Math.asinh((value(at) - mu) / sigma),
      Math.asinh((value(at) - mean(before)) / Math.max(std(before), 0.1 * sigma)),
      Math.asinh((mean(before) - mu) / sigma),
      Math.log(std(before) / sigma),
    ];
    expected.forEach((feature, block) => {
      expect(features[2 * block + c]).toBeCloseTo(feature, 5);
    });
  }
});

test("commissioning yields no features, and a window must be full before it is one", () => {
  const first = (plan: Manifest) => {
    const frontEnd = new FrontEnd(plan);
    return rowsOf(2, 60).findIndex((row) => frontEnd.observe(row) !== null);
  };
  expect(first(manifest({ windowRows: 5, rollingRows: 20, rolling: [] }))).toBe(40);
  expect(first(manifest({ windowRows: 51, rollingRows: 20, rolling: ["std"] }))).toBe(50);
  expect(first(manifest({ windowRows: 1, rollingRows: 20, rolling: ["z"] }, 2, 0))).toBe(1);
});

test("a row is no part of its own statistics", () => {
  const plan = manifest({ windowRows: 1, rollingRows: 20, rolling: ["mean", "std"] });
  const answer = (last: Float64Array) => {
    const frontEnd = new FrontEnd(plan);
    for (const row of rowsOf(2, 70)) frontEnd.observe(row);
    return [...(frontEnd.observe(last) as Float32Array)].slice(2);
  };
  expect(answer(Float64Array.of(1e6, -1e6))).toEqual(answer(Float64Array.of(0, 0)));
});

test("learned rows change features only from the freeze on", () => {
  const plan = manifest({ windowRows: 1, rollingRows: 20, rolling: [] });
  const frontEnd = new FrontEnd(plan);
  for (const row of rowsOf(2, 40)) frontEnd.observe(row);
  const probe = Float64Array.of(1, 1);
  const before = frontEnd.observe(probe) as Float32Array;
  for (const row of rowsOf(2, 40, 1, 4, 2)) frontEnd.learn(row);
  expect(frontEnd.observe(probe)).toEqual(before);
  const [low] = frontEnd.expected(0);
  frontEnd.freeze();
  expect((frontEnd.observe(probe) as Float32Array)[0]).toBeLessThan(before[0] as number);
  const [lowThen, highThen] = frontEnd.expected(0);
  expect((lowThen + highThen) / 2).toBeGreaterThan((low + 3) / 2);
});

test("features do not depend on the channel's unit", () => {
  const plan = manifest({ windowRows: 2, rollingRows: 20, rolling: ["mean", "std", "z"] });
  const [plain, scaled] = [new FrontEnd(plan), new FrontEnd(plan)];
  for (const row of rowsOf(2, 200, 2, 5)) {
    const features = plain.observe(row);
    const same = scaled.observe(row.map((value) => 1e9 * value));
    features?.forEach((feature, i) => {
      expect(same?.[i]).toBeCloseTo(feature, 4);
    });
  }
});

test("every finite row gives finite features", () => {
  const plan = manifest({ windowRows: 3, rollingRows: 20, rolling: ["mean", "std", "z"] }, 4);
  const frontEnd = new FrontEnd(plan);
  const extremes = [1e12, -1e12, 0, Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE];
  rowsOf(1, 400).forEach(([noise], i) => {
    const extreme = i % 7 === 0 ? (extremes[(i / 7) % extremes.length] as number) : 0;
    const features = frontEnd.observe(Float64Array.of(42, 1e9 + (noise as number), extreme, i < 200 ? 0 : 1e12));
    if (features !== null) expect(features.every(Number.isFinite), `row ${i}`).toBe(true);
    frontEnd.freeze();
  });
});

test("a row that is not usable is refused and changes nothing", () => {
  const frontEnd = new FrontEnd(manifest({ windowRows: 2, rollingRows: 20, rolling: ["z"] }));
  for (const row of rowsOf(2, 50)) frontEnd.observe(row);
  const before = frontEnd.snapshot();
  for (const bad of [[1], [1, 2, 3], [1, Number.NaN], [Number.POSITIVE_INFINITY, 1]]) {
    expect(() => frontEnd.observe(Float64Array.from(bad))).toThrow(RangeError);
  }
  expect(frontEnd.snapshot()).toEqual(before);
});

test("a manifest whose feature count does not follow from it is refused", () => {
  const plan = manifest({ windowRows: 2, rollingRows: 20, rolling: ["z"] });
  expect(() => new FrontEnd({ ...plan, featureCount: 5 })).toThrow(RangeError);
});
