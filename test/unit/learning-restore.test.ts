import fc from "fast-check";
import { expect, test } from "vitest";
import { DeviceMonitor } from "../../learning/monitor.ts";
import type { ColumnSettings, FeatureSettings, Manifest, SeasonSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { GATED, manifestOf } from "../support/front-end-plan.ts";

const COLUMNS: readonly ColumnSettings[] = [
  { kind: "window", rows: 4 },
  { kind: "means", rows: [2, 9] },
  { kind: "rolling", rows: 13, statistics: ["mean", "std", "z"] },
  { kind: "lags", rows: [1, 6] },
  { kind: "differences", rows: [2, 11] },
  { kind: "missing" },
];

const reference = fc.constantFrom<FeatureSettings["reference"]>(
  { kind: "normaliser", rows: 60 },
  { ...GATED, scaleFromRow: 10, fleetFloor: 0.5 },
  { ...GATED, rollBackRows: 5, adaptation: { upRows: 10, downRows: 30, atMost: 4 } },
);
const season = fc.constantFrom<SeasonSettings | null>(null, { period: "day", bins: 24 }, { period: "week", bins: 100 });

const plans: fc.Arbitrary<Manifest> = fc
  .record({
    columns: fc.subarray([...COLUMNS], { minLength: 1 }),
    reference,
    season,
    squash: fc.constantFrom(1, 4),
    trailingRows: fc.constantFrom(1, 4),
    excursion: fc.constantFrom(null, { clearBelow: 0.6, belowPeak: 0.9, releaseRows: 3, releaseAfterMs: 4_000_000 }),
    alarm: fc.constantFrom<Manifest["alarm"]>({ kind: "lasting" }, { kind: "onset", refractoryMs: 3000 }),
  })
  .map(({ columns, reference, season, squash, trailingRows, excursion, alarm }) =>
    manifestOf({
      channelCount: 3,
      commissioningRows: 25,
      features: { version: 1, reference, season, squash, columns },
      score: { largest: null, trailingRows },
      excursion,
      alarm,
      threshold: { rule: { kind: "federated_conformal", quantile: 0.9 }, rows: 40 },
    }),
  );

/** A row of three channels: noise, steps that come and go, and, where rows may, gaps and a channel that comes late. */
function* rowsFor(plan: Manifest, seed: number): Generator<{ row: Float64Array; score: number; atMs: number }> {
  const random = seededRandom(seed);
  const mayLack = plan.features.columns.some(({ kind }) => kind === "missing");
  for (let i = 0; ; i++) {
    const step = i % 70 > 50 ? 100 : 0;
    const row = Float64Array.of(random.normal(), 1e6 + step + random.normal(), 5 + 1e-3 * random.normal());
    if (mayLack && random.next() < 0.2) row[0] = Number.NaN;
    if (mayLack && i < 12) row[2] = Number.NaN;
    yield { row, score: 1.4 * random.next(), atMs: 500_000 * i };
  }
}

/** All that a monitor says of a row that it observes and judges, trains after, is calibrated after. */
function answer(
  monitor: DeviceMonitor,
  { row, score, atMs }: { row: Float64Array; score: number; atMs: number },
  i: number,
) {
  const observed = monitor.observe(row, atMs);
  const smoothed = observed && monitor.smooth(score);
  const threshold = i % 90 < 45 ? 1 : monitor.threshold;
  const judged = observed && smoothed !== null && monitor.judge({ row, observed, score: smoothed, threshold, atMs });
  if (i % 17 === 16) monitor.freeze();
  const { x, rows } = monitor.calibrationFeatures();
  if (i % 20 === 19) monitor.calibrate(Float32Array.from({ length: rows }, (_, k) => Math.hypot(Number(x[k]), i)));
  const expected = [0, 1, 2].map((channel) => monitor.expected(channel));
  return {
    observed,
    judged,
    expected,
    x,
    threshold: monitor.threshold,
    confidence: monitor.confidence(score),
    statistics: monitor.statistics(),
  };
}

/** Equal exactly when every bit is, NaNs and zeros included. */
const bits = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => {
    if (ArrayBuffer.isView(part)) return Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString("base64");
    return typeof part === "number" ? (Object.is(part, -0) ? "-0" : String(part)) : part;
  });

const FLEET = { scales: Float64Array.of(0.5, 3, 1), thresholdFactor: 4 };

test("a monitor restored at any row goes on bit for bit, whatever the plan's columns, reference, season and gaps", () => {
  fc.assert(
    fc.property(plans, fc.integer({ min: 0, max: 160 }), fc.nat(), fc.boolean(), (plan, stopAt, seed, pooled) => {
      const original = new DeviceMonitor(plan);
      if (pooled) original.adoptFleet(FLEET);
      const rows = rowsFor(plan, seed);
      for (let i = 0; i < stopAt; i++) answer(original, rows.next().value, i);
      const restored = DeviceMonitor.restore(plan, structuredClone(original.snapshot()));
      if (pooled) restored.adoptFleet(FLEET);
      expect(bits(restored.snapshot())).toBe(bits(original.snapshot()));
      expect([0, 1, 2].map((c) => restored.expected(c))).toEqual([0, 1, 2].map((c) => original.expected(c)));
      for (let i = stopAt; i < stopAt + 90; i++) {
        const given = rows.next().value;
        expect(bits(answer(restored, given, i)), `row ${i}`).toBe(bits(answer(original, given, i)));
      }
      expect(bits(restored.snapshot())).toBe(bits(original.snapshot()));
    }),
    { seed: 1, numRuns: 100 },
  );
});

test("a snapshot is the state of its row: rows that come after it leave it as it is", () => {
  fc.assert(
    fc.property(plans, fc.integer({ min: 0, max: 60 }), (plan, stopAt) => {
      const monitor = new DeviceMonitor(plan);
      const rows = rowsFor(plan, 3);
      for (let i = 0; i < stopAt; i++) answer(monitor, rows.next().value, i);
      const snapshot = monitor.snapshot();
      const before = bits(snapshot);
      for (let i = stopAt; i < stopAt + 60; i++) answer(monitor, rows.next().value, i);
      expect(bits(snapshot)).toBe(before);
    }),
    { seed: 1, numRuns: 30 },
  );
});
