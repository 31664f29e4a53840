// Windows of live rows: by row time, closed by the watermark, bounded whatever comes.
import { expect, test } from "vitest";
import { type LiveRow, LiveWindows, MAX_ROWS_A_WINDOW } from "../../coordinator/core/live-windows.ts";
import { seededRandom } from "../../learning/random.ts";

const SETTINGS = { windowMs: 10_000, latenessMs: 20_000 };
const START = 1_700_000_000_000;
const NO_LOSSES = { lateRows: 0, lateLabels: 0, droppedRows: 0, droppedLabels: 0 };

const at = (second: number) => START + second * 1_000;
const row = (second: number, label: LiveRow["label"] = null): LiveRow => ({
  atMs: at(second),
  values: Float64Array.of(second),
  label,
});
const begun = (closedUntilMs: number | null = null) => new LiveWindows(SETTINGS, closedUntilMs);
/** Received as it happens. */
const add = (windows: LiveWindows, ...seconds: readonly number[]) =>
  seconds.map((second) => windows.addRow(row(second), at(second)));
const seconds = (rows: readonly LiveRow[]) => rows.map(({ atMs }) => (atMs - START) / 1_000);

test("a window closes when a row is its lateness past its end, and not before", () => {
  const windows = begun();
  add(windows, 1, 5, 12, 29.9);
  expect(windows.close()).toEqual([]);
  add(windows, 30);
  const [closed, ...others] = windows.close();
  expect(others).toEqual([]);
  expect(closed).toMatchObject({ startMs: at(0), endMs: at(10), losses: NO_LOSSES });
  expect(seconds(closed?.rows ?? [])).toEqual([1, 5]);
  expect(windows.close()).toEqual([]);
});

test("no clock closes a window: a stream that is silent stays open", () => {
  const windows = begun();
  windows.addRow(row(1), at(100_000));
  expect(windows.close()).toEqual([]);
});

test("windows without a row are none", () => {
  const windows = begun();
  add(windows, 1, 95);
  expect(windows.close().map(({ startMs }) => startMs)).toEqual([at(0)]);
});

test("a label that comes late is its row's until the window closes; after it it is counted and dropped", () => {
  const windows = begun();
  add(windows, 1, 2, 3, 12, 29);
  expect(windows.addLabels({ label: 1, fromMs: at(2), toMs: at(3) }, at(29))).toBe("taken");
  add(windows, 30);
  expect(windows.close()[0]?.rows.map(({ label }) => label)).toEqual([null, 1, 1]);
  expect(windows.addLabels({ label: 1, fromMs: at(1), toMs: at(1) }, at(31))).toBe("late");
  add(windows, 45);
  expect(windows.close()).toMatchObject([{ startMs: at(10), losses: { ...NO_LOSSES, lateLabels: 1 } }]);
});

test("a label may come before its rows, stands over the row's own, and gives way to a later word", () => {
  const windows = begun();
  windows.addLabels({ label: 1, fromMs: at(0), toMs: at(5) }, at(0));
  windows.addRow(row(1, 0), at(1));
  windows.addRow(row(6, 0), at(6));
  windows.addLabels({ label: 0, fromMs: at(4), toMs: at(5) }, at(6));
  add(windows, 4, 40);
  expect(windows.close()[0]?.rows.map(({ label }) => label)).toEqual([1, 0, 0]);
});

test("a row of a window that has closed is late, also for whoever takes over", () => {
  const windows = begun(at(10));
  expect(add(windows, 9, 10)).toEqual(["late", "taken"]);
  add(windows, 40);
  expect(windows.close()).toMatchObject([{ startMs: at(10), losses: { lateRows: 1 } }]);
});

test("a row from far ahead of the clock closes nothing", () => {
  const windows = begun();
  add(windows, 1);
  expect(windows.addRow(row(1_000_000), at(2))).toBe("ahead");
  expect(windows.addLabels({ label: 0, fromMs: at(0), toMs: at(1_000_000) }, at(2))).toBe("ahead");
  expect(windows.close()).toEqual([]);
  add(windows, 3, 31);
  const losses = { ...NO_LOSSES, droppedRows: 1, droppedLabels: 1 };
  expect(windows.close()).toMatchObject([{ startMs: at(0), rows: [{}, {}], losses }]);
});

test("a row that comes again is the one that was there", () => {
  const windows = begun();
  windows.addRow(row(1, 1), at(1));
  expect(windows.addRow(row(1, 0), at(2))).toBe("duplicate");
  add(windows, 40);
  expect(windows.close()).toMatchObject([{ rows: [{ label: 1 }], losses: { droppedRows: 1 } }]);
});

test("rows of a window and labels that wait are bounded, and windows close all the same", () => {
  const windows = begun();
  const verdicts = Array.from({ length: MAX_ROWS_A_WINDOW + 1 }, (_, i) => windows.addRow(row(i / 1_000), at(5)));
  expect(verdicts.at(-1)).toBe("full");
  const label = { label: 0 as const, fromMs: at(1), toMs: at(1) };
  const heard = Array.from({ length: 20_000 }, () => windows.addLabels(label, at(5)));
  expect(new Set(heard)).toEqual(new Set(["taken", "full"]));
  add(windows, 40);
  const [closed] = windows.close();
  expect(closed?.rows).toHaveLength(MAX_ROWS_A_WINDOW);
  expect(closed?.losses).toMatchObject({ droppedRows: 1 });
  expect(windows.addLabels({ ...label, fromMs: at(35), toMs: at(35) }, at(40)), "there is room again").toBe("taken");
});

test("within the lateness the order of arrival, and when windows are looked at, changes no window", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const rows = Array.from({ length: 120 }, (_, i) => row(i + random.next() * 0.9, random.next() < 0.5 ? 0 : null));
    const labels = rows
      .filter(() => random.next() < 0.2)
      .map(({ atMs }) => ({ label: 1 as const, fromMs: atMs, toMs: atMs }));
    const inOrder = run(rows, labels, () => 0, seed);
    const shuffled = run(rows, labels, () => random.next() * SETTINGS.latenessMs, seed + 1);
    expect(shuffled, `seed ${seed}`).toEqual(inOrder);
  }
});

type Labels = Parameters<LiveWindows["addLabels"]>[0];

/** What closes when each row and label comes `delayMs` after its time. */
function run(rows: readonly LiveRow[], labels: readonly Labels[], delayMs: () => number, seed: number) {
  const windows = begun();
  const random = seededRandom(seed);
  const arrivals = [
    ...rows.map((given) => ({ atMs: given.atMs + delayMs(), come: (now: number) => windows.addRow(given, now) })),
    ...labels.map((given) => ({ atMs: given.toMs + delayMs(), come: (now: number) => windows.addLabels(given, now) })),
  ].toSorted((a, b) => a.atMs - b.atMs);
  const closed = arrivals.flatMap(({ atMs, come }) => {
    expect(come(atMs)).toBe("taken");
    return random.next() < 0.3 ? windows.close() : [];
  });
  add(windows, 1_000);
  return [...closed, ...windows.close()].map(({ startMs, rows }) => ({ startMs, rows }));
}
