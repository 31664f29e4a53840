import { describe, expect, test } from "vitest";
import type { ProblemKind } from "../../coordinator/adapters/session/deps.ts";
import { windowReader } from "../../coordinator/adapters/session/windows.ts";
import { checkWindow, refuseChannels, type ToldWindow } from "../../coordinator/core/check-windows.ts";
import { daysDue } from "../../coordinator/core/days-due.ts";
import { cohortId, gatewayId } from "../../learning/ids.ts";
import type { WindowSummaries } from "../../proto/gen/flead/v1/federation.ts";
import { Problems } from "../../runtime/problems.ts";

const NOW_MS = Date.parse("2026-11-25T12:00:00Z");
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const CONTEXT = {
  cohort: cohortId("pumps"),
  windowMs: 30_000,
  channels: ["flow", "current"],
  nowMs: NOW_MS,
  keptMs: 30 * DAY_MS,
};

const told = (change: Partial<ToldWindow> = {}): ToldWindow => ({
  deviceId: "pump-1",
  startMs: BigInt(NOW_MS - 60_000),
  anomalyConfidence: 0.9,
  lateRows: 2,
  counts: [3, 0],
  means: [2, 0],
  deviations: [1, 0],
  minima: [1, 0],
  maxima: [4, 0],
  last: [4, 0],
  z: [1.5, 0],
  ...change,
});

describe("a window", () => {
  test("is kept for each channel that has samples", () => {
    const about = { cohort: "pumps", deviceId: "pump-1", startMs: NOW_MS - 60_000, windowMs: 30_000 };
    const said = { anomalyConfidence: 0.9, lateRows: 2, samples: 3, mean: 2, stddev: 1, min: 1, max: 4, last: 4 };
    expect(checkWindow(told(), CONTEXT)).toEqual([{ ...about, ...said, metricName: "flow", zScore: 1.5 }]);
  });

  test("of a value that was not judged has no z, and without an anomaly no confidence", () => {
    const { anomalyConfidence, ...quiet } = told({ z: [Number.NaN, 0] });
    expect(checkWindow(quiet, CONTEXT)).toMatchObject([{ zScore: null, anomalyConfidence: null }]);
  });

  test("that began up to a day ahead or as long ago as windows are kept is kept", () => {
    for (const startMs of [NOW_MS + DAY_MS, NOW_MS - CONTEXT.keptMs]) {
      expect(checkWindow(told({ startMs: BigInt(startMs) }), CONTEXT)).toHaveLength(1);
    }
  });

  test.each<[string, string, Partial<ToldWindow>]>([
    ["more than a day ahead", "window_future", { startMs: BigInt(NOW_MS + DAY_MS + 30_000) }],
    ["older than what is kept", "window_expired", { startMs: BigInt(NOW_MS - CONTEXT.keptMs - 30_000) }],
    ["begins beside the grid", "window_malformed", { startMs: BigInt(NOW_MS - 60_001) }],
    ["begins beyond any date", "window_malformed", { startMs: 2n ** 63n }],
    ["has no proper device", "window_malformed", { deviceId: "pump 1; DROP" }],
    ["has too few counts", "window_malformed", { counts: [3] }],
    ["has more rows than milliseconds", "window_malformed", { counts: [30_001, 0] }],
    ["has a mean that is no number", "window_malformed", { means: [Number.NaN, 0] }],
    ["has a mean above its maximum", "window_malformed", { means: [5, 0] }],
    ["has a last value below its minimum", "window_malformed", { last: [0, 0] }],
    ["has an infinite maximum", "window_malformed", { maxima: [Number.POSITIVE_INFINITY, 0] }],
    ["has a minimum that no sensor has", "window_malformed", { minima: [-2e30, 0] }],
    ["has a negative spread", "window_malformed", { deviations: [-1, 0] }],
    ["has a spread beyond its extremes", "window_malformed", { deviations: [4, 0] }],
    ["has a spread that is no number", "window_malformed", { deviations: [Number.NaN, 0] }],
    ["has a confidence above 1", "window_malformed", { anomalyConfidence: 1.5 }],
    ["has a confidence that is no number", "window_malformed", { anomalyConfidence: Number.NaN }],
  ])("that %s is refused as %s", (_, refused, change) => {
    expect(checkWindow(told(change), CONTEXT)).toMatchObject({ refused });
  });

  test.each([
    [["flow"], 10_000],
    [[], 30_000],
    [["flow", "flow"], 30_000],
    [["flow\0"], 30_000],
    [["anomaly"], 30_000],
  ])("with channels %j of %d ms is refused", (channels, windowMs) => {
    expect(refuseChannels(channels, windowMs)).toMatchObject({ refused: "window_malformed" });
  });

  test("may be of half a minute or of five", () => {
    expect([refuseChannels(["flow"], 30_000), refuseChannels(["flow"], 300_000)]).toEqual([null, null]);
  });
});

function openReader() {
  const kinds: ProblemKind[] = [];
  // A minute passes between two problems, so that each of them is logged.
  let nowMs = 0;
  const log = { warn: ({ kind }: Record<string, unknown>) => void kinds.push(kind as ProblemKind) };
  const problems = new Problems<ProblemKind>(log, () => (nowMs += 60_000));
  const read = windowReader({ problems, windowsKeptMs: CONTEXT.keptMs });
  const from = (gateway: string, summaries: WindowSummaries[], atMs = NOW_MS) =>
    read({ gatewayId: gatewayId(gateway), cohorts: new Set() } as never, summaries, atMs);
  return { from, kinds };
}

const summaries = (windows: ToldWindow[], change: Partial<WindowSummaries> = {}): WindowSummaries => ({
  cohort: "pumps",
  windowMs: 30_000,
  channels: ["flow", "current"],
  windows: windows as WindowSummaries["windows"],
  ...change,
});

describe("a report's windows", () => {
  test("are refused one by one, each counted under its kind, and the rest stands", () => {
    const { from, kinds } = openReader();
    const future = told({ startMs: BigInt(NOW_MS + 2 * DAY_MS) });
    const rows = from("gw-1", [
      summaries([told(), future, told({ deviceId: "" })]),
      summaries([told()], { cohort: "no such; cohort" }),
      summaries([told()], { windowMs: 1 }),
    ]);
    expect(rows).toHaveLength(1);
    expect(kinds).toEqual(["window_future", "window_malformed", "window_malformed", "window_malformed"]);
  });

  test("are of at most 2,000 devices and 25,000 rows", () => {
    const { from, kinds } = openReader();
    const devices = Array.from({ length: 2_003 }, (_, device) => told({ deviceId: `d-${device}` }));
    expect(from("gw-1", [summaries(devices)])).toHaveLength(2_000);
    expect(kinds).toEqual(["window_limit", "window_limit", "window_limit"]);
    const many = Array.from({ length: 25_004 }, () => told());
    expect(from("gw-2", [summaries(many)])).toHaveLength(25_000);
    expect(kinds).toHaveLength(7);
  });

  test("come to at most 300,000 rows a gateway and minute", () => {
    const { from } = openReader();
    const report = [summaries(Array.from({ length: 25_000 }, () => told()))];
    for (let reports = 0; reports < 12; reports++) expect(from("gw-1", report)).toHaveLength(25_000);
    expect(from("gw-1", report)).toHaveLength(0);
    expect(from("gw-2", report)).toHaveLength(25_000);
    expect(from("gw-1", report, NOW_MS + 60_000)).toHaveLength(25_000);
  });
});

describe("a changed day is due", () => {
  const yesterday = { day: "2026-11-24", analysedAtMs: null };
  const midnightMs = Date.parse("2026-11-25T00:00:00Z");

  test("ten minutes after its end, not before", () => {
    expect(daysDue([yesterday], midnightMs + 599_999)).toEqual([]);
    expect(daysDue([yesterday], midnightMs + 600_000)).toEqual(["2026-11-24"]);
  });

  test("an hour after it was analysed, not before", () => {
    const analysed = { day: "2026-11-20", analysedAtMs: NOW_MS };
    expect(daysDue([analysed], NOW_MS + HOUR_MS - 1)).toEqual([]);
    expect(daysDue([analysed], NOW_MS + HOUR_MS)).toEqual(["2026-11-20"]);
  });

  test("with all others that are, the oldest first", () => {
    const days = ["2026-11-24", "2026-11-20", "2026-11-25", "2026-11-22"].map((day) => ({ day, analysedAtMs: null }));
    expect(daysDue(days, NOW_MS)).toEqual(["2026-11-20", "2026-11-22", "2026-11-24"]);
  });
});
