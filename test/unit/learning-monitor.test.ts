import { expect, test } from "vitest";
import { DeviceMonitor, type Judgement, type Observed, rowsToCalibrate } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { gatedFeatures, manifestOf } from "../support/front-end-plan.ts";
import { featuresOf } from "../support/plan-settings.ts";

const columnsOver = (rows: number) =>
  [
    { kind: "window", rows: 2 },
    { kind: "rolling", rows, statistics: ["mean", "std", "z"] },
  ] as const;

const manifest = manifestOf({
  channels: [
    { name: "flow", unit: "m³/h" },
    { name: "current", unit: "A" },
  ],
  commissioningRows: 20,
  features: { ...featuresOf(...columnsOver(15)), reference: { kind: "normaliser", rows: 200 } },
  threshold: { rule: { kind: "quantile", quantile: 0.9 }, rows: 60 },
});

function source(seed = 1) {
  const random = seededRandom(seed);
  return () => Float64Array.of(50 + 2 * random.normal(), 10 + random.normal());
}

/** A commissioned monitor, and a way to feed it one row with a given score against threshold 1, a second apart. */
function commissioned(plan: Manifest = manifest, seed = 1) {
  const monitor = new DeviceMonitor(plan);
  const next = source(seed);
  let atMs = 0;
  for (; atMs < 1000 * plan.commissioningRows; atMs += 1000) expect(monitor.observe(next(), atMs)).toBeNull();
  const feed = (score: number, threshold: number | null = 1): Judgement => {
    const row = next();
    const observed = monitor.observe(row, atMs) as Observed;
    atMs += 1000;
    return monitor.judge({ row, observed, score, threshold, atMs });
  };
  return { monitor, feed, rows: () => monitor.calibrationFeatures().rows };
}

test("without a threshold nothing is detected and every row is learned", () => {
  const { feed, rows } = commissioned();
  for (let i = 0; i < 10; i++) {
    expect(feed(1e9, null)).toEqual({ over: false, active: false, learnable: true });
  }
  expect(rows()).toBe(10);
});

test("an isolated exceedance is learned, a repeated one and an alarm are not", () => {
  const { feed, rows } = commissioned();
  const learnable = [0, 2, 0, 0, 0, 0, 2, 0, 2, 0, 2, 0].map((score) => feed(score).learnable);
  // The second of two exceedances within five rows is left out; the third raises, and so is all that follows.
  expect(learnable).toEqual([true, true, true, true, true, true, true, true, false, true, false, false]);
  expect(rows()).toBe(9);
});

test("learning goes on with the row that clears the alarm", () => {
  const { feed, rows } = commissioned();
  const raised = [2, 2, 2].map((score) => feed(score));
  expect(raised.map(({ active }) => active)).toEqual([false, false, true]);
  const after = Array.from({ length: 63 }, () => feed(0));
  expect(after.slice(0, 62).every(({ active, learnable }) => active && !learnable)).toBe(true);
  expect(after[62]).toEqual({ over: false, active: false, learnable: true });
  expect(rows()).toBe(2);
});

test("a reset alarm is forgotten", () => {
  const { monitor, feed } = commissioned();
  for (const score of [2, 2, 2]) feed(score);
  monitor.resetAlarm();
  expect(feed(2)).toEqual({ over: true, active: false, learnable: true });
});

test("rows of an alarm leave the normaliser alone", () => {
  const { monitor, feed } = commissioned();
  for (const score of [2, 2, 2]) feed(score);
  monitor.freeze();
  const before = monitor.expected(0);
  for (let i = 0; i < 50; i++) feed(2);
  monitor.freeze();
  expect(monitor.expected(0)).toEqual(before);
  monitor.resetAlarm();
  for (let i = 0; i < 50; i++) feed(0);
  expect(monitor.expected(0)).toEqual(before);
  monitor.freeze();
  expect(monitor.expected(0)).not.toEqual(before);
});

test("what is expected is μ ± 3σ in the channel's unit", () => {
  const { monitor, feed } = commissioned();
  for (let i = 0; i < 180; i++) feed(0);
  monitor.freeze();
  const [low, high] = monitor.expected(0);
  expect(low).toBeGreaterThan(50 - 8);
  expect(low).toBeLessThan(50 - 4.5);
  expect(high).toBeGreaterThan(50 + 4.5);
  expect(high).toBeLessThan(50 + 8);
});

test("the calibration rows are the last learnable ones, at most as many as the plan keeps", () => {
  const monitor = new DeviceMonitor(manifest);
  const next = source();
  const learned: Float32Array[] = [];
  for (let i = 0; i < 120; i++) {
    const row = next();
    const observed = monitor.observe(row, i);
    if (observed === null) continue;
    if (monitor.judge({ row, observed, score: 0, threshold: 1, atMs: i }).learnable) learned.push(observed.features);
  }
  const { x, rows } = monitor.calibrationFeatures();
  expect(rows).toBe(60);
  expect(x).toEqual(Float32Array.from(learned.slice(-60).flatMap((features) => [...features])));
});

test("the threshold is the plan's quantile of as many scores as the plan asks for, confidence the share they reach", () => {
  const { monitor } = commissioned();
  monitor.calibrate(Float32Array.from({ length: 59 }, (_, i) => i));
  expect([monitor.threshold, monitor.confidence(5)]).toEqual([null, null]);
  monitor.calibrate(Float32Array.from({ length: 61 }, (_, i) => 60 - i));
  expect(monitor.threshold).toBe(54);
  expect([-1, 20, 60, 1e9].map((score) => monitor.confidence(score))).toEqual([0, 21 / 62, 61 / 62, 61 / 62]);
});

test("the plan's rule makes the threshold: conformal counts one more score than there are", () => {
  const rule = { kind: "conformal", alpha: 0.1 } as const;
  const monitor = new DeviceMonitor({ ...manifest, threshold: { rule, rows: 60 } });
  monitor.calibrate(Float32Array.from({ length: 60 }, (_, i) => i + 1));
  // The ⌈61 × 0.9⌉-th smallest of 1 to 60.
  expect(monitor.threshold).toBe(55);
});

test("scores of a diverged model are refused and the calibration stays", () => {
  const { monitor } = commissioned();
  monitor.calibrate(Float32Array.from({ length: 61 }, (_, i) => i));
  expect(() => monitor.calibrate(new Float32Array(61).fill(Number.NaN))).toThrow(RangeError);
  expect(monitor.threshold).toBe(54);
});

test("a snapshot of another plan is refused", () => {
  const { monitor } = commissioned();
  const wider = { ...manifest, channels: [...manifest.channels, { name: "speed", unit: "rpm" }], featureCount: 15 };
  expect(() => DeviceMonitor.restore(wider, monitor.snapshot())).toThrow(RangeError);
  const longer = { ...manifest, features: { ...manifest.features, columns: columnsOver(16) } };
  expect(() => DeviceMonitor.restore(longer, monitor.snapshot())).toThrow(RangeError);
  const seasonal = { ...manifest, features: { ...manifest.features, season: { period: "day", bins: 24 } as const } };
  expect(() => DeviceMonitor.restore(seasonal, monitor.snapshot())).toThrow(RangeError);
  const gated = { ...manifest, features: gatedFeatures({}, ...columnsOver(15)) };
  expect(() => DeviceMonitor.restore(gated, monitor.snapshot())).toThrow(RangeError);
});

test("the score that is judged is the mean over the plan's rows, and begins anew when the alarm is reset", () => {
  const monitor = new DeviceMonitor({ ...manifest, score: { largest: null, trailingRows: 3 } });
  expect([9, 3, 6, 0, 0].map((score) => monitor.smooth(score))).toEqual([9, 6, 6, 3, 2]);
  monitor.resetAlarm();
  expect(monitor.smooth(5)).toBe(5);
  expect([9, 3].map((score) => new DeviceMonitor(manifest).smooth(score))).toEqual([9, 3]);
});

test("calibration is by the same means, of which there is one for each row that has all of its rows", () => {
  const threshold = { rule: { kind: "quantile", quantile: 1 - 1e-9 }, rows: 60 } as const;
  const monitor = new DeviceMonitor({ ...manifest, threshold, score: { largest: null, trailingRows: 10 } });
  const scores = (count: number) => new Float32Array(count).fill(10, count - 5);
  monitor.calibrate(scores(59));
  expect(monitor.threshold).toBeNull();
  monitor.calibrate(scores(60));
  // 51 means, the largest of the last ten rows of which five scored 10.
  expect(monitor.threshold).toBeCloseTo(5, 6);
  expect(monitor.statistics()?.scores).toHaveLength(51);
  expect(monitor.confidence(5)).toBe(51 / 52);
});

test("an onset plan learns every row but those over the threshold", () => {
  const { feed, rows } = commissioned({ ...manifest, alarm: { kind: "onset", refractoryMs: 5000 } });
  const judged = [0, 2, 0, 2, 2, 0].map((score) => feed(score));
  expect(judged.map(({ learnable }) => learnable)).toEqual([true, false, true, false, false, true]);
  expect(judged.map(({ active }) => active)).toEqual([false, true, true, true, true, true]);
  expect(rows()).toBe(3);
});

const gatedPlan = (fleetFloor: number, change: Partial<Manifest> = {}) =>
  manifestOf({
    commissioningRows: 40,
    features: gatedFeatures({ fleetFloor }, { kind: "means", rows: [1, 8] }),
    threshold: { rule: { kind: "quantile", quantile: 0.9 }, rows: 33 },
    ...change,
  });

test("over a gated baseline the rows of commissioning are enough to calibrate on", () => {
  const plan = gatedPlan(0);
  expect(rowsToCalibrate(plan)).toBe(40);
  const monitor = new DeviceMonitor(plan);
  const next = source();
  for (let i = 0; i < 39; i++) monitor.observe(next(), i);
  expect([monitor.commissioned, monitor.calibrationFeatures().rows]).toEqual([false, 0]);
  expect(monitor.observe(next(), 39)).toBeNull();
  expect([monitor.commissioned, monitor.calibrationFeatures().rows]).toEqual([true, 33]);
  monitor.calibrate(new Float32Array(33).fill(1));
  expect(monitor.threshold).toBe(1);
});

test("a median of the fleet's above the device's own scale is its scale, for the calibration rows too", () => {
  const { monitor, feed } = commissioned(gatedPlan(1));
  feed(0, null);
  monitor.calibrate(new Float32Array(33).fill(1));
  const own = monitor.statistics()?.scales ?? new Float64Array(0);
  const before = monitor.calibrationFeatures().x;
  const fleet = (factor0: number, factor1: number) =>
    monitor.adoptFleet({
      scales: Float64Array.of(factor0 * Number(own[0]), factor1 * Number(own[1])),
      thresholdFactor: null,
    });
  fleet(7, 0.5);
  const raised = monitor.calibrationFeatures().x;
  raised.forEach((feature, at) => {
    // asinh(x / 7s), of the same distance x.
    const distance = Math.sinh(before[at] as number);
    expect(feature).toBeCloseTo(Math.asinh(at % 2 === 0 ? distance / 7 : distance), 5);
  });
  // What it tells the fleet is its own, or the fleet would only hear itself.
  expect(monitor.statistics()?.scales).toEqual(own);
  fleet(1, 1);
  expect(monitor.calibrationFeatures().x).toEqual(before);
  fleet(7, 7);
  monitor.adoptFleet({ scales: null, thresholdFactor: null });
  expect(monitor.calibrationFeatures().x).toEqual(before);
});

test("a plan may take but a share of the fleet's scales", () => {
  const { monitor, feed } = commissioned(gatedPlan(0.5));
  feed(0, null);
  const before = monitor.calibrationFeatures().x;
  monitor.calibrate(new Float32Array(33).fill(1));
  const own = monitor.statistics()?.scales ?? new Float64Array(0);
  monitor.adoptFleet({ scales: own.map((scale) => 6 * scale), thresholdFactor: null });
  monitor.calibrationFeatures().x.forEach((feature, at) => {
    expect(feature).toBeCloseTo(Math.asinh(Math.sinh(before[at] as number) / 3), 5);
  });
});

test("the fleet's scales are taken only where the plan asks for them", () => {
  for (const plan of [gatedPlan(0), manifest]) {
    const { monitor, feed } = commissioned(plan);
    feed(0, null);
    const before = monitor.calibrationFeatures();
    monitor.adoptFleet({ scales: Float64Array.of(1e6, 1e6), thresholdFactor: null });
    expect(monitor.calibrationFeatures()).toEqual(before);
  }
});

test("the fleet's factor makes the threshold of a plan that asks for it, and only there", () => {
  const rule = { kind: "federated_conformal", quantile: 0.9 } as const;
  for (const [asked, threshold] of [
    [rule, 5 * 17],
    [{ kind: "fixed", threshold: 0.5 }, 0.5],
  ] as const) {
    const monitor = new DeviceMonitor(gatedPlan(0, { threshold: { rule: asked, rows: 33 } }));
    monitor.adoptFleet({ scales: null, thresholdFactor: 5 });
    expect(monitor.threshold).toBeNull();
    monitor.calibrate(Float32Array.from({ length: 33 }, (_, i) => i + 1));
    expect(monitor.threshold).toBe(threshold);
  }
});

test("nothing is told the fleet before a device is calibrated", () => {
  expect(commissioned(gatedPlan(1)).monitor.statistics()).toBeNull();
});

const EXCURSION = { clearBelow: 0.5, belowPeak: 0.25, releaseRows: 20, releaseAfterMs: 100_000 };

/** Steps to another level for good at row 60; the level where a row's score is what `scoreOf` says of it. */
function levelAfter(rows: number, excursion: Manifest["excursion"], scoreOf: (row: number) => number): number {
  const features = gatedFeatures({}, { kind: "means", rows: [1] });
  const monitor = new DeviceMonitor(manifestOf({ channelCount: 1, features, excursion }));
  const random = seededRandom(4);
  for (let i = 0; i < rows; i++) {
    const row = Float64Array.of((i < 60 ? 0 : 1e3) + random.normal());
    const observed = monitor.observe(row, 1000 * i);
    if (observed !== null) monitor.judge({ row, observed, score: scoreOf(i), threshold: 1, atMs: 1000 * i });
  }
  const [low, high] = monitor.expected(0);
  return (low + high) / 2;
}

test("a run that stays where it went is let go there when its scores have fallen, or when its time is up", () => {
  const falls = (row: number) => (row < 60 ? 0 : row < 90 ? 8 : 1.5);
  expect(levelAfter(105, EXCURSION, falls)).toBeLessThan(200);
  expect(levelAfter(115, EXCURSION, falls)).toBeGreaterThan(900);
  const stays = (row: number) => (row < 60 ? 0 : 8);
  expect(levelAfter(155, EXCURSION, stays)).toBeLessThan(200);
  expect(levelAfter(165, EXCURSION, stays)).toBeGreaterThan(900);
  for (const scoreOf of [falls, stays]) expect(levelAfter(500, null, scoreOf)).toBeLessThan(200);
});

test("an excursion lasts down to its clearing share, and its low end does not count", () => {
  const { feed } = commissioned({ ...manifest, excursion: { ...EXCURSION, releaseRows: 3, releaseAfterMs: null } });
  const over = (scores: readonly number[]) => scores.map((score) => feed(score).over);
  expect(over([0.9, 1.1, 0.9, 0.6, 0.4, 0.9])).toEqual([false, true, true, true, false, false]);
  expect(over(new Array(16).fill(8)).every(Boolean)).toBe(true);
  // Below a quarter of the peak: the row is over the threshold and yet does not count.
  expect(over([2.1, 1.9, 1.9])).toEqual([true, false, false]);
});

test("scores from before a release are no part of those that come after it", () => {
  const excursion = { ...EXCURSION, releaseAfterMs: 5000 };
  const plan = { ...manifest, excursion, score: { largest: null, trailingRows: 4 } };
  const { monitor, feed } = commissioned(plan);
  for (let row = 0; row < 5; row++) feed(monitor.smooth(8));
  expect(monitor.smooth(0)).toBe(6);
  feed(6);
  expect(monitor.smooth(1)).toBe(1);
});

test("an alarm about a forest's score clears where scores are the device's usual ones, which are far from zero", () => {
  const scored = (model: Manifest["model"]) => {
    const { monitor, feed } = commissioned({ ...manifest, model });
    const usual = (row: number) => 0.42 + 0.002 * (row % 10);
    for (let row = 0; row < 60; row++) feed(0, null);
    monitor.calibrate(Float32Array.from({ length: 60 }, (_, row) => usual(row)));
    const threshold = Number(monitor.threshold);
    for (let row = 0; row < 3; row++) feed(0.6, threshold);
    expect(feed(0.6, threshold).active).toBe(true);
    return Array.from({ length: 70 }, (_, row) => feed(usual(row), threshold).active).at(-1);
  };
  // 0.8 times the threshold is below what is usual here: only from the device's median does it say anything.
  expect(scored({ kind: "isolation_forest", trees: 20, subsampleRows: 32 })).toBe(false);
  expect(scored({ kind: "dense_autoencoder", hidden: [2] })).toBe(true);
});
