import { expect, test } from "vitest";
import { readCoordinatorConfig, tableLimits } from "../../coordinator/config.ts";
import { excessRows, planMaintenance, TABLE_LIMITS, type TableInTime } from "../../coordinator/core/maintenance.ts";
import { maintenanceDuty, runMaintenance } from "../../coordinator/maintenance.ts";
import type { TableKeeper } from "../../coordinator/ports/table-keeper.ts";
import { createLogger } from "../../runtime/log.ts";

const DAY = 86_400_000;
const NOW = 1_000 * DAY + 5;
const FOREVER = { retentionDays: null, maxBytes: null };

/** A table of partitions of ten days and a hundred bytes each, that begin on these days. */
const table = (days: number[], change: Partial<TableInTime> = {}): TableInTime => ({
  name: "t",
  partitionMs: 10 * DAY,
  partitions: days.map((day) => ({ sinceMs: day * DAY, untilMs: (day + 10) * DAY, bytes: 100 })),
  restBytes: 0,
  missingMs: [],
  expiresItself: false,
  growsItself: false,
  ...change,
});

const dropped = (...args: Parameters<typeof planMaintenance>) => planMaintenance(...args).drop.map((at) => at / DAY);
const made = (...args: Parameters<typeof planMaintenance>) => planMaintenance(...args).make.map((at) => at / DAY);

test("partitions are made for two weeks ahead, and none twice", () => {
  expect(made(table([]), FOREVER, NOW).map(Math.floor)).toEqual([1000, 1010, 1020]);
  expect(made(table([990, 1000, 1010]), FOREVER, NOW).map(Math.floor)).toEqual([1020]);
  expect(made(table([1000, 1010, 1020]), FOREVER, NOW)).toEqual([]);
  expect(made(table([], { growsItself: true }), FOREVER, NOW)).toEqual([]);
});

test("rows in no partition get one, unless they are too old or of a future that is far", () => {
  const stray = table([1000, 1010, 1020], { missingMs: [900 * DAY, 950 * DAY, 1030 * DAY] });
  expect(made(stray, { retentionDays: 60, maxBytes: null }, NOW)).toEqual([950]);
  expect(made(stray, FOREVER, NOW)).toEqual([900, 950]);
});

test("a partition goes when its last row is too old", () => {
  const old = { retentionDays: 30, maxBytes: null };
  expect(dropped(table([950, 960, 970, 1000]), old, NOW)).toEqual([950, 960]);
  expect(dropped(table([950, 960, 970, 1000]), FOREVER, NOW)).toEqual([]);
  expect(dropped(table([950, 960], { expiresItself: true }), old, NOW)).toEqual([]);
});

test("the oldest go until the table is small enough, and today's never", () => {
  const days = [1000, 990, 970, 980];
  expect(dropped(table(days), { retentionDays: null, maxBytes: 300 }, NOW)).toEqual([970]);
  expect(dropped(table(days), { retentionDays: null, maxBytes: 299 }, NOW)).toEqual([970, 980]);
  expect(dropped(table(days, { restBytes: 1 }), { retentionDays: null, maxBytes: 300 }, NOW)).toEqual([970, 980]);
  expect(dropped(table(days), { retentionDays: null, maxBytes: 1 }, NOW)).toEqual([970, 980, 990]);
  expect(dropped(table(days), { retentionDays: 15, maxBytes: 300 }, NOW), "what is too old counts first").toEqual([
    970,
  ]);
  expect(dropped(table(days, { expiresItself: true }), { retentionDays: 1, maxBytes: 300 }, NOW)).toEqual([970]);
});

test("the rows that are too many are the share that the bytes are", () => {
  expect(excessRows(1000, 500, { retentionDays: null, maxBytes: 500 })).toBe(0);
  expect(excessRows(1000, 500, { retentionDays: null, maxBytes: 400 })).toBe(200);
  expect(excessRows(1000, 500, FOREVER)).toBe(0);
});

test("limits are set a table each; 0 is none, and what is not said stays", () => {
  const limits = tableLimits(
    readCoordinatorConfig({
      FLEAD_RETENTION_DAYS: "local_models=7, audit_log=0",
      FLEAD_TABLE_BYTES: "local_models=512MB,episodes=2GB,audit_log=1000,labels=0",
    }),
  );
  expect(limits).toEqual({
    ...TABLE_LIMITS,
    local_models: { retentionDays: 7, maxBytes: 512 * 2 ** 20 },
    audit_log: { retentionDays: null, maxBytes: 1000 },
    episodes: { retentionDays: 365, maxBytes: 2 * 2 ** 30 },
    labels: { retentionDays: null, maxBytes: null },
  });
  expect(tableLimits(readCoordinatorConfig({}))).toEqual(TABLE_LIMITS);
});

test.each(["rounds=5", "local_models", "local_models=-1", "local_models=1.5", "=3", "toString=1"])(
  "the limit %j is refused with what is allowed",
  (text) => {
    expect(() => readCoordinatorConfig({ FLEAD_RETENTION_DAYS: text })).toThrow(
      /FLEAD_RETENTION_DAYS: must be <table>=<days.*tables: local_models, /,
    );
  },
);

/** Knows no tables in time; each sweep deletes what `sweep` says. */
const keeperThat = (sweep: TableKeeper["sweep"]): TableKeeper => ({
  tablesInTime: async () => [],
  makePartition: async () => undefined,
  dropPartition: async () => true,
  sweep,
  size: async () => ({ rows: 0, bytes: 0 }),
  ageOfOldest: async () => null,
});
const log = createLogger("test", "silent");

test("a table that fails keeps no other from its turn", async () => {
  const swept: string[] = [];
  const keeper = keeperThat(async (name) => {
    swept.push(name);
    if (name === "episodes") throw new Error("lock timeout");
    return 0;
  });
  await runMaintenance({ keeper, limits: TABLE_LIMITS, log }, NOW, new AbortController().signal);
  const keptForEver = ["labels", "model_archive"];
  expect(swept).toEqual(Object.keys(TABLE_LIMITS).filter((name) => !keptForEver.includes(name)));
});

test("a pass ends with the step it is in when it is told to stop, and no other begins", async () => {
  const stop = new AbortController();
  let steps = 0;
  const keeper = keeperThat(async (_table, _before, maxRows) => {
    if (++steps === 3) stop.abort();
    return maxRows; // there is always more
  });
  await maintenanceDuty({ keeper, limits: TABLE_LIMITS, log }).run(stop.signal);
  expect(steps).toBe(3);
});
