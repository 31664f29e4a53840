import { expect, test } from "vitest";
import { featureLayout } from "../../learning/features.ts";
import { DeviceMonitor, type Judgement } from "../../learning/monitor.ts";
import type { Manifest, PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { TRAINING } from "../support/plan-settings.ts";

const settings: PlanSettings = {
  channels: [
    { name: "flow", unit: "m³/h" },
    { name: "current", unit: "A" },
  ],
  commissioningRows: 20,
  normaliserRows: 200,
  features: { windowRows: 2, rollingRows: 15, rolling: ["mean", "std", "z"] },
  model: { kind: "dense_autoencoder", hidden: [2] },
  training: TRAINING,
  threshold: { rule: { kind: "quantile", quantile: 0.9 }, rows: 60 },
};
const manifest: Manifest = {
  ...settings,
  formatVersion: 1,
  featureCount: featureLayout(settings).featureCount,
  weights: [],
  residualChannels: [],
};

function source(seed = 1) {
  const random = seededRandom(seed);
  return () => Float64Array.of(50 + 2 * random.normal(), 10 + random.normal());
}

/** A commissioned monitor, and a way to feed it one row with a given score against threshold 1, a second apart. */
function commissioned(seed = 1) {
  const monitor = new DeviceMonitor(manifest);
  const next = source(seed);
  for (let i = 0; i < settings.commissioningRows; i++) expect(monitor.observe(next())).toBeNull();
  let atMs = 0;
  const feed = (score: number, threshold: number | null = 1): Judgement => {
    const row = next();
    const features = monitor.observe(row) as Float32Array;
    atMs += 1000;
    return monitor.judge({ row, features, score, threshold, atMs });
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
    const features = monitor.observe(row);
    if (features === null) continue;
    if (monitor.judge({ row, features, score: 0, threshold: 1, atMs: i }).learnable) learned.push(features);
  }
  const { x, rows } = monitor.calibrationFeatures();
  expect(rows).toBe(60);
  const held = Array.from({ length: rows }, (_, i) =>
    x.slice(i * manifest.featureCount, (i + 1) * manifest.featureCount),
  );
  const inOrder = (list: Float32Array[]) => list.map((features) => features.join()).sort();
  expect(inOrder(held)).toEqual(inOrder(learned.slice(-60)));
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

test("a restored monitor goes on bit for bit, whenever it was stopped", () => {
  for (const stopAt of [7, 25, 60, 180]) {
    const next = source(stopAt);
    const random = seededRandom(99);
    const drive = (monitors: DeviceMonitor[], from: number, to: number) => {
      for (let i = from; i < to; i++) {
        const row = next();
        const score = 1.4 * random.next();
        const answers = monitors.map((monitor) => {
          const features = monitor.observe(row);
          const judged =
            features && monitor.judge({ row, features, score, threshold: monitor.threshold ?? 1, atMs: 1000 * i });
          if (i % 50 === 49) monitor.freeze();
          if (i % 60 === 59) monitor.calibrate(Float32Array.from({ length: 40 }, (_, k) => k / 40));
          return { features, judged, confidence: monitor.confidence(score), expected: monitor.expected(1) };
        });
        for (const answer of answers) expect(answer).toEqual(answers[0]);
      }
    };
    const original = new DeviceMonitor(manifest);
    drive([original], 0, stopAt);
    const restored = DeviceMonitor.restore(manifest, structuredClone(original.snapshot()));
    drive([original, restored], stopAt, stopAt + 200);
    expect(restored.snapshot()).toEqual(original.snapshot());
    expect(restored.calibrationFeatures()).toEqual(original.calibrationFeatures());
  }
});

test("a snapshot of another plan is refused", () => {
  const { monitor } = commissioned();
  const wider = { ...manifest, channels: [...manifest.channels, { name: "speed", unit: "rpm" }], featureCount: 15 };
  expect(() => DeviceMonitor.restore(wider, monitor.snapshot())).toThrow(RangeError);
  const longer = { ...manifest, features: { ...manifest.features, rollingRows: 16 } };
  expect(() => DeviceMonitor.restore(longer, monitor.snapshot())).toThrow(RangeError);
});
