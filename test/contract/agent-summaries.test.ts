import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Cohort } from "../../agent/cohort.ts";
import { judgeRows } from "../../agent/judge-rows.ts";
import { Summaries } from "../../agent/summaries.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { temporaryFolder } from "../support/temp.ts";

/** A window begins here. */
const START_MS = 1_800_000_000_000;
const WINDOW_MS = 30_000;
const folder = temporaryFolder("agent-summaries");
let stores = 0;

function openStore(): SqliteStore {
  const store = new SqliteStore(join(folder, `${++stores}.sqlite`), { nowMs: 0 });
  onTestFinished(() => store.close());
  return store;
}

/** A gateway's devices and their windows, with a clock that the test sets. */
function openSummaries({ store = openStore(), windowMs = WINDOW_MS } = {}) {
  const clock = { nowMs: START_MS };
  const cohort = new Cohort(cohortId("pumps"), 0, () => false);
  const settings = { windowMs, latenessMs: 60_000 };
  const summaries = new Summaries({ settings, store: store.summaries, nowMs: () => clock.nowMs });
  summaries.restore();
  const say = async (...readings: Reading[]) => {
    const judged = await judgeRows(cohort, readings, (reading, { refused }) => {
      if (refused === "out_of_order") summaries.unjudged(cohort, reading);
    });
    for (const row of judged) summaries.judged(cohort, row);
  };
  const queued = () =>
    store.summaries.oldest(1e9).flatMap(({ summaries: { windows, ...about } }) =>
      windows.map((window) => ({
        ...about,
        ...window,
        startMs: window.startMs - START_MS,
        counts: [...window.counts],
      })),
    );
  return { store, clock, cohort, summaries, say, queued };
}

function reading(
  atMs: number,
  values: Record<string, number>,
  device = "pump-1",
  receivedAtMs = START_MS + atMs + 1,
): Reading {
  const channels = new Map(Object.entries(values));
  return {
    deviceId: deviceId(device),
    atMs: START_MS + atMs,
    receivedAtMs,
    values: channels,
    units: new Map(),
    label: null,
  };
}

test("a device's windows are queued as they close, by cohort and channels", async () => {
  const { say, summaries, queued } = openSummaries();
  await say(reading(0, { flow: 1, current: 2 }), reading(1_000, { flow: 3, current: 2 }));
  await say(reading(90_000, { flow: 5, current: 2 }));
  summaries.flush();
  const about = { cohort: "pumps", windowMs: WINDOW_MS, channels: ["flow", "current"], deviceId: "pump-1" };
  expect(queued()).toMatchObject([{ ...about, startMs: 0, counts: [2, 2], means: Float64Array.of(2, 2) }]);
});

test("a row that its detector refuses for its time is in its window, and one that comes again is not", async () => {
  const { say, summaries, queued, clock } = openSummaries();
  await say(reading(0, { flow: 1 }), reading(20_000, { flow: 2 }), reading(10_000, { flow: 3 }));
  await say(reading(10_000, { flow: 3 }), reading(20_000, { flow: 2 }));
  clock.nowMs += WINDOW_MS + 60_000;
  summaries.flush();
  expect(queued()).toMatchObject([{ counts: [3], last: Float64Array.of(2), lateRows: 0 }]);
});

test("an anomaly is in the window it was up in, with its confidence, and the last value's z is the detector's", async () => {
  const { say, summaries, queued, clock } = openSummaries();
  for (let second = 0; second < 60; second++) await say(reading(second * 1_000, { flow: second % 2 }));
  for (let second = 60; second < 70; second++) await say(reading(second * 1_000, { flow: 100 }));
  clock.nowMs += WINDOW_MS + 60_000;
  summaries.flush();
  const windows = queued();
  // The z-score serves from the 31st row on: the first window's last row is its thirtieth.
  expect(windows.map(({ anomaly }) => anomaly !== null)).toEqual([false, false, true]);
  expect(windows[0]?.z[0]).toBeNaN();
  expect(Math.abs(Number(windows[1]?.z[0]))).toBeLessThan(3);
  expect(windows[2]?.z[0]).toBeGreaterThan(5);
});

test("a device that falls silent has its windows closed when no row is to be waited for any more", async () => {
  const { say, summaries, queued, clock } = openSummaries();
  await say(reading(0, { flow: 1 }));
  clock.nowMs += WINDOW_MS + 60_000 - 1;
  summaries.flush();
  expect(queued()).toEqual([]);
  clock.nowMs += 1;
  summaries.flush();
  expect(queued()).toMatchObject([{ startMs: 0, counts: [1] }]);
  summaries.flush();
  expect(queued()).toHaveLength(1);
});

test("windows that were open when the agent stopped go on with the next one", async () => {
  const first = openSummaries();
  await first.say(reading(0, { flow: 1 }), reading(31_000, { flow: 2 }));
  first.summaries.save();
  const next = openSummaries({ store: first.store });
  await next.say(reading(10_000, { flow: 3 }), reading(120_000, { flow: 4 }));
  next.summaries.flush();
  expect(next.queued().map(({ startMs, counts }) => [startMs, counts])).toEqual([
    [0, [2]],
    [30_000, [1]],
  ]);
});

test("windows of another length are not gone on with", async () => {
  const first = openSummaries();
  await first.say(reading(0, { flow: 1 }));
  first.summaries.save();
  const next = openSummaries({ store: first.store, windowMs: 300_000 });
  await next.say(reading(1_000, { flow: 2 }), reading(361_000, { flow: 3 }));
  next.summaries.flush();
  expect(next.queued()).toMatchObject([{ windowMs: 300_000, startMs: 0, counts: [1] }]);
});

test("a device whose clock was set back has windows of its new times", async () => {
  const { say, summaries, queued, clock } = openSummaries();
  await say(reading(3_600_000, { flow: 1 }));
  for (let second = 0; second < 60; second++)
    await say(reading(second * 1_000, { flow: 1 }, "pump-1", START_MS + 3_600_000 + second * 1_000));
  clock.nowMs += WINDOW_MS + 60_000;
  summaries.flush();
  // It is believed at the twentieth row; those before are late for the window of the time that was wrong.
  expect(queued().map(({ startMs, counts, lateRows }) => [startMs, counts, lateRows])).toEqual([
    [3_600_000, [1], 19],
    [0, [11], 0],
    [30_000, [30], 0],
  ]);
});

test("a flood of windows goes to the store before memory fills", async () => {
  const { say, queued } = openSummaries();
  for (let hour = 0; hour <= 1_000; hour++) await say(reading(hour * 3_600_000, { flow: 1 }));
  expect(queued()).toHaveLength(1_000);
});
