import fc from "fast-check";
import { expect, test } from "vitest";
import { DeviceWindows, type WindowRow, type WindowSummary } from "../../agent/core/windows.ts";

const SETTINGS = { windowMs: 30_000, latenessMs: 60_000 };
/** A window begins here. */
const START_MS = 1_800_000_000_000;

const row = (atMs: number, values: number[], change: Partial<WindowRow> = {}): WindowRow => ({
  atMs: START_MS + atMs,
  values: Float64Array.from(values),
  z: Float64Array.from(values, (value) => value / 10),
  anomaly: null,
  ...change,
});

function run(rows: readonly WindowRow[], windows = new DeviceWindows(1, SETTINGS)): WindowSummary[] {
  return [...rows.flatMap((each) => windows.add(each)), ...windows.closeAll()];
}

/** What each window should say, by the textbook. */
function directly(rows: readonly WindowRow[]) {
  const starts = [...new Set(rows.map(({ atMs }) => Math.floor(atMs / 30_000) * 30_000))].sort((a, b) => a - b);
  return starts.map((startMs) => {
    const inside = rows
      .filter(({ atMs }) => atMs >= startMs && atMs < startMs + 30_000)
      .sort((a, b) => a.atMs - b.atMs);
    const values = inside.map((each) => Number(each.values[0]));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    const confidences = inside.flatMap(({ anomaly }) => anomaly ?? []);
    return {
      startMs,
      count: values.length,
      mean,
      deviation: Math.sqrt(variance),
      min: Math.min(...values),
      max: Math.max(...values),
      last: values.at(-1),
      z: Number(values.at(-1)) / 10,
      anomaly: confidences.length > 0 ? Math.max(...confidences) : null,
    };
  });
}

const ofFirstChannel = (summary: WindowSummary) => ({
  startMs: summary.startMs,
  count: summary.counts[0],
  mean: summary.means[0],
  deviation: summary.deviations[0],
  min: summary.minima[0],
  max: summary.maxima[0],
  last: summary.last[0],
  z: summary.z[0],
  anomaly: summary.anomaly,
});

const close = (expected: ReturnType<typeof directly>) =>
  expected.map((window) => ({
    ...window,
    mean: expect.closeTo(window.mean, 9),
    deviation: expect.closeTo(window.deviation, 3),
    z: expect.closeTo(window.z, 4),
  }));

test("a window says mean, spread, extremes and last value of its rows, and the highest confidence of an anomaly", () => {
  const rows = [
    row(0, [4]),
    row(10_000, [1], { anomaly: 0.7 }),
    row(29_999, [7], { anomaly: 0.9 }),
    row(30_000, [5], { z: null }),
  ];
  const [first, second] = run(rows);
  expect(first).toMatchObject({ startMs: START_MS, anomaly: 0.9, lateRows: 0 });
  expect(ofFirstChannel(first as WindowSummary)).toMatchObject({ count: 3, mean: 4, min: 1, max: 7, last: 7 });
  expect(first?.deviations[0]).toBeCloseTo(Math.sqrt(6), 6);
  expect(second).toMatchObject({ startMs: START_MS + 30_000, anomaly: null });
  expect(second?.z[0]).toBeNaN();
});

test("a window closes with the first row that is a minute past its end, not before", () => {
  const windows = new DeviceWindows(1, SETTINGS);
  windows.add(row(0, [1]));
  expect(windows.add(row(89_999, [1]))).toEqual([]);
  expect(windows.add(row(90_000, [1]))).toMatchObject([{ startMs: START_MS }]);
});

test("whatever the order of rows that come within a minute, the windows are the same, and right", () => {
  const readings = fc.array(
    fc.record({
      atMs: fc.integer({ min: 0, max: 400_000 }),
      value: fc.double({ min: -1e3, max: 1e3, noNaN: true }),
      anomaly: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
      delayMs: fc.integer({ min: 0, max: 60_000 }),
    }),
    { minLength: 1, maxLength: 200 },
  );
  fc.assert(
    fc.property(readings, (said) => {
      const distinct = [...new Map(said.map((each) => [each.atMs, each])).values()];
      const arrivals = distinct.sort((a, b) => a.atMs + a.delayMs - (b.atMs + b.delayMs));
      const rows = arrivals.map(({ atMs, value, anomaly }) => row(atMs, [value], { anomaly }));
      const summaries = run(rows);
      expect(summaries.map(ofFirstChannel)).toEqual(close(directly(rows)));
      expect(summaries.every(({ lateRows }) => lateRows === 0)).toBe(true);
    }),
  );
});

test("every row is in exactly one window or counted as late, in whatever order rows come", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 1_000_000 }), { maxLength: 200 }), (times) => {
      const rows = times.map((atMs) => row(atMs, [1]));
      const windows = new DeviceWindows(1, SETTINGS);
      // A last row, far enough ahead that nothing is left open behind it and every late row is told.
      const summaries = run([...rows, row(2_000_000, [1])], windows);
      const told = summaries.reduce((sum, { counts, lateRows }) => sum + Number(counts[0]) + lateRows, 0);
      expect(told).toBe(rows.length + 1);
      expect(new Set(summaries.map(({ startMs }) => startMs)).size).toBe(summaries.length);
    }),
  );
});

test("a row more than a minute late changes no window and is told with the next one", () => {
  const rows = [row(0, [1]), row(100_000, [2]), row(10_000, [100]), row(20_000, [100]), row(70_000, [3])];
  const summaries = run(rows);
  expect(summaries.map(({ startMs, lateRows }) => [startMs - START_MS, lateRows])).toEqual([
    [0, 0],
    [60_000, 2],
    [90_000, 0],
  ]);
  expect(summaries[0]?.maxima[0]).toBe(1);
});

test("a row that is sent again counts once, also when it comes out of order", () => {
  const [summary] = run([row(1_000, [1]), row(3_000, [3]), row(1_000, [1]), row(2_000, [2]), row(3_000, [3])]);
  expect(summary?.counts[0]).toBe(3);
  expect(summary?.means[0]).toBe(2);
});

test("a channel that a row lacks is not counted, and its last value is the one it had", () => {
  const windows = new DeviceWindows(2, SETTINGS);
  const [summary] = run([row(0, [1, 10]), row(1_000, [2, Number.NaN])], windows);
  expect([...(summary?.counts ?? [])]).toEqual([2, 1]);
  expect([...(summary?.last ?? [])]).toEqual([2, 10]);
});

test("the mean of equal readings is that reading, however often rounding acts on it", () => {
  const [summary] = run(Array.from({ length: 30 }, (_, second) => row(second * 1_000, [0.1])));
  expect([summary?.means[0], summary?.deviations[0]]).toEqual([0.1, 0]);
});

test("a small spread about a large level is not lost", () => {
  const values = Array.from({ length: 30 }, (_, index) => 1e9 + (index % 2));
  const [summary] = run(values.map((value, index) => row(index * 1_000, [value])));
  expect(summary?.deviations[0]).toBeCloseTo(0.5, 6);
});

test("windows that were open come back as they were", () => {
  const [before, after] = [
    [row(0, [1]), row(31_000, [2])],
    [row(15_000, [3]), row(32_000, [4])],
  ];
  const windows = new DeviceWindows(1, SETTINGS);
  for (const each of before) windows.add(each);
  const restored = DeviceWindows.restore(structuredClone(windows.snapshot()), 1, SETTINGS);
  expect(run(after, restored)).toEqual(run([...before, ...after]));
});

test("after a restart of its clock a device's earlier times are new ones", () => {
  const windows = new DeviceWindows(1, SETTINGS);
  windows.add(row(1_000_000, [1]));
  expect(windows.isLate(START_MS)).toBe(true);
  expect(windows.restart()).toMatchObject([{ startMs: START_MS + 990_000 }]);
  expect(run([row(0, [2])], windows)).toMatchObject([{ startMs: START_MS }]);
});

test("windows stay few, however far apart the rows are", () => {
  const windows = new DeviceWindows(1, SETTINGS);
  for (let hour = 0; hour < 100; hour++) windows.add(row(hour * 3_600_000, [1]));
  expect(windows.snapshot().open).toHaveLength(1);
  for (let second = 0; second < 600; second++) windows.add(row(100 * 3_600_000 + second * 1_000, [1]));
  expect(windows.snapshot().open.length).toBeLessThanOrEqual(4);
});
