// Windows as gateways tell them, made of rows, and all that the admin API knows of analytics.
import type { Kysely } from "kysely";
import { postgresAnalytics } from "../../coordinator/adapters/postgres-analytics.ts";
import { postgresAnalyticsQueries } from "../../coordinator/adapters/postgres-analytics-queries.ts";
import type { Tables } from "../../coordinator/adapters/tables.ts";
import type { CheckedWindow } from "../../coordinator/core/check-windows.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";

export const analyticsOf = (kysely: Kysely<Tables>) => ({
  ...postgresAnalytics(kysely),
  ...postgresAnalyticsQueries(kysely),
});

export interface ChannelRow {
  readonly atMs: number;
  readonly value: number;
}

export const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Population standard deviation. */
export const spreadOf = (values: readonly number[]) => {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)));
};

/** The windows of one channel's rows, which are in order. */
export function windowsOf(rows: readonly ChannelRow[], change: Partial<CheckedWindow> = {}): CheckedWindow[] {
  const { windowMs = 30_000 } = change;
  const starts = [...new Set(rows.map(({ atMs }) => Math.floor(atMs / windowMs) * windowMs))];
  return starts.map((startMs) => {
    const inside = rows.filter(({ atMs }) => atMs >= startMs && atMs < startMs + windowMs);
    const values = inside.map(({ value }) => value);
    return {
      cohort: cohortId("pumps"),
      deviceId: deviceId("pump-1"),
      metricName: "flow",
      startMs,
      windowMs,
      samples: values.length,
      mean: meanOf(values),
      stddev: spreadOf(values),
      min: Math.min(...values),
      max: Math.max(...values),
      last: Number(values.at(-1)),
      zScore: 0.5,
      anomalyConfidence: null,
      lateRows: 0,
      ...change,
    };
  });
}
