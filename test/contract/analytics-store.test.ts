import { sql } from "kysely";
import { beforeEach, expect, test } from "vitest";
import type { CheckedWindow } from "../../coordinator/core/check-windows.ts";
import { AnalysisRunningError } from "../../coordinator/ports/analytics-store.ts";
import { cohortId, deviceId, type GatewayId, gatewayId } from "../../learning/ids.ts";
import { seededRandom } from "../../learning/random.ts";
import { analyticsOf, type ChannelRow, meanOf, spreadOf, windowsOf } from "../support/analytics.ts";
import { eventually } from "../support/eventually.ts";
import { type Home, onEveryHome } from "../support/homes.ts";

const DAY = "2026-11-24";
const NEXT_DAY = "2026-11-25";
const START_MS = Date.parse(`${DAY}T12:00:00Z`);
const GATEWAY = gatewayId("gw-1");

/** A reading every two seconds, with gaps, about a level that is large beside their spread. */
function readings(minutes: number, seed = 1, startMs = START_MS): ChannelRow[] {
  const random = seededRandom(seed);
  const rows = Array.from({ length: minutes * 30 }, (_, row) => ({
    atMs: startMs + row * 2_000,
    value: 50_000 + random.normal(),
  }));
  return rows.filter(() => random.next() > 0.2);
}

onEveryHome((home: Home) => {
  const analytics = {
    get store() {
      return analyticsOf(home.database.kysely);
    },
  };
  const onOneBackend = home.name === "TimescaleDB"; // connections of PGlite take turns
  beforeEach(() =>
    sql`TRUNCATE stream_analysis_results, batch_analysis_results, analytics_days`.execute(home.database.kysely),
  );

  const kept = async () => {
    const { items } = await analytics.store.windows({
      limit: 200,
      after: null,
      deviceId: "pump-1",
      metricName: "flow",
      fromMs: null,
      toMs: null,
    });
    return items.reverse();
  };
  const daysOf = async () => {
    const request = { limit: 200, after: null, deviceId: null, metricName: null, from: null, to: null };
    return (await analytics.store.days(request)).items;
  };
  const analyse = (day: string) => analytics.store.analyseDay(day, new AbortController().signal);
  const changed = async () => (await analytics.store.changedDays()).map(({ day }) => day);

  /** Resolves when a connection waits for such a lock. */
  const waiting = (lock: string) =>
    eventually(`somebody waits for a lock: ${lock}`, async () => {
      const waits = sql<{ pid: number }>`SELECT pid FROM pg_stat_activity WHERE wait_event = ${lock}`;
      return (await waits.execute(home.database.kysely)).rows[0];
    });

  const tell = (gateway: GatewayId, windows: readonly CheckedWindow[]) =>
    analytics.store.addWindows([{ gatewayId: gateway, windows }]);

  /** Which version of each row there is: a row that is written again has another. */
  const versions = async () =>
    (
      await sql`SELECT window_start, xmin::text, ctid::text FROM stream_analysis_results ORDER BY 1`.execute(
        home.database.kysely,
      )
    ).rows;

  const inFiveMinutes = (rows: readonly ChannelRow[], windowEnd: string) => {
    const endMs = Date.parse(windowEnd);
    return rows.filter(({ atMs }) => atMs >= endMs - 300_000 && atMs < endMs).map(({ value }) => value);
  };

  test("windows hold what a direct computation over the rows gives, in whatever order and company they come", async () => {
    const rows = readings(20);
    const random = seededRandom(7);
    const told = windowsOf(rows).map((window) => ({ window, order: random.next() }));
    const shuffled = told.sort((a, b) => a.order - b.order).map(({ window }) => window);
    for (let at = 0; at < shuffled.length; at += 7) await tell(GATEWAY, shuffled.slice(at, at + 7));
    const windows = await kept();
    expect(windows).toHaveLength(told.length);
    for (const { windowStart, windowEnd, ...window } of windows) {
      const [from, to] = [Date.parse(windowStart), Date.parse(windowEnd)];
      const values = rows.filter(({ atMs }) => atMs >= from && atMs < to).map(({ value }) => value);
      expect(window).toMatchObject({
        movingAvg30s: expect.closeTo(meanOf(values), 6),
        movingAvg5m: expect.closeTo(meanOf(inFiveMinutes(rows, windowEnd)), 6),
        stddev: expect.closeTo(spreadOf(values), 6),
        min: Math.min(...values),
        max: Math.max(...values),
        rawValue: values.at(-1),
        sampleCount: values.length,
      });
    }
  });

  test("windows that are told again change nothing", async () => {
    const windows = windowsOf(readings(8));
    await tell(GATEWAY, windows);
    await analyse(DAY);
    const before = await versions();
    await tell(GATEWAY, windows);
    await tell(GATEWAY, windows.slice(5, 9));
    expect(await versions()).toEqual(before);
    expect(await changed()).toEqual([]);
  });

  test("a window that comes late corrects the averages after it and no other row", async () => {
    const rows = readings(20);
    const windows = windowsOf(rows);
    const late = windows[12] as CheckedWindow;
    await tell(
      GATEWAY,
      windows.filter((window) => window !== late),
    );
    const before = await versions();
    await tell(GATEWAY, [late]);
    const after = await versions();
    const lines = new Set(before.map((row) => JSON.stringify(row)));
    const touched = after.filter((row) => !lines.has(JSON.stringify(row))).length;
    expect(touched).toBe(10); // itself and the nine whose five minutes it is in
    for (const { windowEnd, movingAvg5m } of await kept()) {
      expect(movingAvg5m).toBeCloseTo(meanOf(inFiveMinutes(rows, windowEnd)), 6);
    }
  });

  test("of two tellings of a window the one with more samples stands, whichever comes first", async () => {
    const all = readings(4).slice(0, 60);
    const whole = windowsOf(all);
    const part = windowsOf(all.slice(6));
    for (const order of [
      [part, whole],
      [whole, part],
    ]) {
      await sql`TRUNCATE stream_analysis_results`.execute(home.database.kysely);
      for (const windows of order) await tell(GATEWAY, windows);
      const windows = await kept();
      expect(windows.map(({ sampleCount }) => sampleCount)).toEqual(whole.map(({ samples }) => samples));
      expect(windows.at(-1)?.movingAvg5m).toBeCloseTo(meanOf(all.map(({ value }) => value)), 6);
    }
  });

  test("windows of five minutes have no average over thirty seconds, and their own one over five minutes", async () => {
    const rows = readings(15);
    await tell(GATEWAY, windowsOf(rows, { windowMs: 300_000 }));
    const windows = await kept();
    expect(windows.map(({ movingAvg30s }) => movingAvg30s)).toEqual([null, null, null]);
    for (const { windowEnd, movingAvg5m } of windows) {
      expect(movingAvg5m).toBeCloseTo(meanOf(inFiveMinutes(rows, windowEnd)), 6);
    }
  });

  test("a gateway writes its own windows only, and a device of the same name elsewhere is another one", async () => {
    const [mine, others] = [readings(5, 1), readings(5, 2)];
    await tell(GATEWAY, windowsOf(mine));
    await tell(gatewayId("gw-2"), windowsOf(others));
    for (const { gatewayId: gateway, windowEnd, movingAvg5m } of await kept()) {
      expect(movingAvg5m).toBeCloseTo(meanOf(inFiveMinutes(gateway === GATEWAY ? mine : others, windowEnd)), 6);
    }
  });

  test("an anomaly, an unjudged value and late rows are kept as they were told", async () => {
    await tell(GATEWAY, windowsOf(readings(1), { zScore: null, anomalyConfidence: 0.97, lateRows: 3 }));
    expect((await kept())[0]).toMatchObject({ zScore: null, isAnomaly: true, anomalyConfidence: 0.97, lateCount: 3 });
  });

  const fiveMinutes = async () => {
    const view = sql<{ window_start: Date; avg: number; sample_count: number }>`
      SELECT window_start, avg, sample_count FROM stream_analysis_5m ORDER BY window_start`;
    return (await view.execute(home.database.kysely)).rows;
  };

  test("windows of five minutes can be read off those of thirty seconds", async () => {
    const rows = readings(10);
    await tell(GATEWAY, windowsOf(rows));
    const windows = await fiveMinutes();
    expect(windows).toHaveLength(2);
    for (const { window_start, avg, sample_count } of windows) {
      const values = inFiveMinutes(rows, new Date(window_start.getTime() + 300_000).toISOString());
      expect([avg, sample_count]).toEqual([expect.closeTo(meanOf(values), 6), values.length]);
    }
  });

  test.runIf(onOneBackend)("TimescaleDB keeps windows of five minutes, a policy refreshes them", async () => {
    await tell(GATEWAY, windowsOf(readings(10)));
    const before = await fiveMinutes();
    await sql`CALL refresh_continuous_aggregate('stream_analysis_5m', NULL, NULL)`.execute(home.database.kysely);
    await sql`ALTER MATERIALIZED VIEW stream_analysis_5m SET (timescaledb.materialized_only = true)`.execute(
      home.database.kysely,
    );
    expect(await fiveMinutes()).toEqual(before);
    await sql`ALTER MATERIALIZED VIEW stream_analysis_5m SET (timescaledb.materialized_only = false)`.execute(
      home.database.kysely,
    );
    const jobs = await sql<{
      name: string;
    }>`SELECT proc_name AS name FROM timescaledb_information.jobs WHERE hypertable_name = 'stream_analysis_5m'`.execute(
      home.database.kysely,
    );
    const names = jobs.rows.map(({ name }) => name).sort();
    expect(names).toEqual(["policy_refresh_continuous_aggregate", "policy_retention"]);
  });

  test("a day's statistics are those of its readings, also of a small spread about a large level", async () => {
    const [flow, current] = [readings(200, 1), readings(200, 2)];
    const anomalies = windowsOf(flow).map((window, at) => (at < 4 ? { ...window, anomalyConfidence: 0.9 } : window));
    await tell(GATEWAY, anomalies);
    await tell(GATEWAY, windowsOf(current, { metricName: "current", lateRows: 1 }));
    expect(await changed()).toEqual([DAY]);
    expect(await analyse(DAY)).toBe(2);
    const of = (rows: readonly ChannelRow[]) => {
      const values = rows.map(({ value }) => value);
      const [avg, stddev] = [expect.closeTo(meanOf(values), 6), expect.closeTo(spreadOf(values), 6)];
      return { avg, stddev, min: Math.min(...values), max: Math.max(...values), sampleCount: values.length };
    };
    expect(await daysOf()).toMatchObject([
      { metricName: "current", analysisDate: DAY, ...of(current), anomalyCount: 0, lateCount: 400 },
      { metricName: "flow", analysisDate: DAY, ...of(flow), anomalyCount: 4, lateCount: 0 },
    ]);
    expect(await changed()).toEqual([]);
  });

  test("a day that is analysed again is replaced, with the windows that came meanwhile; other days stay", async () => {
    const rows = readings(30);
    const windows = windowsOf(rows);
    await tell(GATEWAY, windows.slice(10));
    await tell(GATEWAY, windowsOf(readings(2, 3, START_MS + 86_400_000)));
    await analyse(DAY);
    await analyse(NEXT_DAY);
    const [before] = await daysOf();
    await tell(GATEWAY, windows.slice(0, 10));
    expect(await changed()).toEqual([DAY]);
    await analyse(DAY);
    const days = await daysOf();
    expect(days.map(({ analysisDate }) => analysisDate)).toEqual([NEXT_DAY, DAY]);
    expect(days[0]).toEqual(before);
    expect(days[1]?.sampleCount).toBe(rows.length);
  });

  test("a day ends at midnight UTC", async () => {
    const midnightMs = Date.parse(`${NEXT_DAY}T00:00:00Z`);
    const rows = readings(4, 5, midnightMs - 120_000);
    await tell(GATEWAY, windowsOf(rows));
    expect(await changed()).toEqual([DAY, NEXT_DAY]);
    await analyse(DAY);
    expect((await daysOf())[0]?.sampleCount).toBe(rows.filter(({ atMs }) => atMs < midnightMs).length);
  });

  test("a device that changed its cohort has one day, in the cohort it was last in", async () => {
    const [first, second] = [windowsOf(readings(5)), windowsOf(readings(5, 2, START_MS + 600_000))];
    await tell(
      GATEWAY,
      first.map((window) => ({ ...window, cohort: cohortId("zoo") })),
    );
    await tell(GATEWAY, second);
    await analyse(DAY);
    const samples = [...first, ...second].reduce((sum, window) => sum + window.samples, 0);
    expect(await daysOf()).toMatchObject([{ cohort: "pumps", sampleCount: samples }]);
  });

  test("a day whose windows are gone keeps its statistics", async () => {
    await tell(GATEWAY, windowsOf(readings(5)));
    await analyse(DAY);
    const before = await daysOf();
    await sql`TRUNCATE stream_analysis_results`.execute(home.database.kysely);
    expect(await analyse(DAY)).toBe(0);
    await tell(GATEWAY, windowsOf(readings(1))); // one that comes when the others are gone
    expect(await analyse(DAY)).toBe(0);
    expect(await daysOf()).toEqual(before);
    expect(await changed()).toEqual([]);
  });

  test.skipIf(onOneBackend)(
    "two analyses do not run at a time, and the one that was refused leaves the day due",
    async () => {
      await tell(GATEWAY, windowsOf(readings(5)));
      const other = await home.database.connect("test");
      await other.query("SELECT pg_advisory_lock(4021993)");
      await expect(analyse(DAY)).rejects.toThrow(AnalysisRunningError);
      await other.end();
      expect(await changed()).toEqual([DAY]);
    },
  );

  test.skipIf(onOneBackend)("an analysis that is given up ends soon and leaves the day due", async () => {
    await tell(GATEWAY, windowsOf(readings(5)));
    const giveUp = new AbortController();
    await home.database.kysely.transaction().execute(async (trx) => {
      await sql`LOCK TABLE batch_analysis_results`.execute(trx);
      const asked = analytics.store.analyseDay(DAY, giveUp.signal);
      await waiting("relation");
      giveUp.abort(new Error("the term is over"));
      await expect(asked).rejects.toThrow();
    });
    expect(await changed()).toEqual([DAY]);
    expect(await analyse(DAY)).toBe(1);
  });

  test.skipIf(onOneBackend)("windows that are being written while an analysis begins are in it", async () => {
    const [before, during] = [windowsOf(readings(5)), windowsOf(readings(5), { deviceId: deviceId("pump-2") })];
    await tell(GATEWAY, before);
    const analysing = await home.database.kysely.transaction().execute(async (trx) => {
      await analyticsOf(trx).addWindows([{ gatewayId: GATEWAY, windows: during }]);
      const asked = analyse(DAY);
      await waiting("advisory");
      return { asked };
    });
    expect(await analysing.asked).toBe(2);
  });

  test("a device's windows come in pages, each window once", async () => {
    const windows = windowsOf(readings(10));
    await tell(GATEWAY, [...windows, ...windows.map((window) => ({ ...window, metricName: "current" }))]);
    const seen: string[] = [];
    const request = {
      deviceId: "pump-1",
      metricName: null,
      fromMs: START_MS + 60_000,
      toMs: START_MS + 300_000,
      limit: 7,
    };
    for (let after = null, more = true; more; ) {
      const page = await analytics.store.windows({ ...request, after });
      seen.push(...page.items.map(({ windowStart, metricName }) => `${windowStart} ${metricName}`));
      after = page.next as never;
      more = page.next !== null;
    }
    expect(seen).toHaveLength(16);
    expect(new Set(seen).size).toBe(16);
    expect(seen[0]).toBe(`${new Date(START_MS + 270_000).toISOString()} current`);
  });
});
