// Windows and the statistics of days in PostgreSQL; what is computed is computed by the functions of the schema.
import { type Kysely, sql } from "kysely";
import type { CheckedWindow } from "../core/check-windows.ts";
import { AnalysisRunningError, type AnalyticsStore } from "../ports/analytics-store.ts";
import { answered } from "./pages.ts";
import type { Tables } from "./tables.ts";

/** Whoever holds it analyses days. */
const ANALYSIS_LOCK = 4_021_993;
/** A day of 2,407 devices with 8 channels is 55 million windows. */
const ANALYSIS_TIMEOUT_MS = 1_800_000;

export function postgresAnalytics(db: Kysely<Tables>): AnalyticsStore {
  return {
    addWindows: async (told) => {
      // In one order, since each gateway's windows are under a lock of its own.
      const rows = told
        .filter(({ windows }) => windows.length > 0)
        .toSorted((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1))
        .map(({ gatewayId, windows }) => ({ gateway: gatewayId, windows: windows.map(toldRow) }));
      if (rows.length === 0) return;
      await sql`SELECT record_windows(gateway, windows)
        FROM json_to_recordset(${JSON.stringify(rows)}::json) AS told (gateway text, windows json)`.execute(db);
    },

    changedDays: async () => {
      const rows = await db
        .selectFrom("analytics_days")
        .select(["analysed_at", sql<string>`day::text`.as("day")])
        .where((eb) => eb.or([eb("changed", "=", true), eb("analysed_at", "is", null)]))
        .orderBy("analytics_days.day")
        .execute();
      return rows.map(({ day, analysed_at }) => ({ day, analysedAtMs: analysed_at?.getTime() ?? null }));
    },

    analyseDay: async (day, signal) => {
      const series = await answered(
        db
          .connection()
          .execute((connection) =>
            underLock(connection, () => cancelledBy(signal, db, connection, () => analyse(connection, day))),
          ),
      );
      if (series === null) throw new AnalysisRunningError();
      return series;
    },
  };
}

/** Null, and `work` is not done, while somebody else holds the lock of analyses. */
async function underLock<Result>(connection: Kysely<Tables>, work: () => Promise<Result>): Promise<Result | null> {
  const lock = sql<{ taken: boolean }>`SELECT pg_try_advisory_lock(${ANALYSIS_LOCK}) AS taken`;
  const { rows } = await lock.execute(connection);
  if (!rows[0]?.taken) return null;
  try {
    return await work();
  } finally {
    await sql`SELECT pg_advisory_unlock(${ANALYSIS_LOCK})`.execute(connection);
  }
}

/** What the connection does when `signal` aborts is cancelled by another one. */
async function cancelledBy<Result>(
  signal: AbortSignal,
  db: Kysely<Tables>,
  connection: Kysely<Tables>,
  work: () => Promise<Result>,
): Promise<Result> {
  const { rows } = await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(connection);
  const cancel = () => {
    sql`SELECT pg_cancel_backend(${rows[0]?.pid})`.execute(db).catch(() => undefined); // then it ends by itself
  };
  signal.throwIfAborted();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

async function analyse(connection: Kysely<Tables>, day: string): Promise<number> {
  await sql`SELECT begin_day_analysis(${day})`.execute(connection);
  return connection.transaction().execute(async (trx) => {
    await sql`SELECT set_config('statement_timeout', ${String(ANALYSIS_TIMEOUT_MS)}, true)`.execute(trx);
    const { rows } = await sql<{ series: number }>`SELECT analyse_day(${day}) AS series`.execute(trx);
    return rows[0]?.series ?? 0;
  });
}

/** A row of what `record_windows` is told. */
function toldRow(window: CheckedWindow) {
  return {
    cohort: window.cohort,
    device_id: window.deviceId,
    metric_name: window.metricName,
    window_start: new Date(window.startMs),
    window_end: new Date(window.startMs + window.windowMs),
    raw_value: window.last,
    sum: window.mean * window.samples,
    min: window.min,
    max: window.max,
    stddev: window.stddev,
    z_score: window.zScore,
    is_anomaly: window.anomalyConfidence !== null,
    anomaly_confidence: window.anomalyConfidence,
    sample_count: window.samples,
    late_count: window.lateRows,
  };
}
