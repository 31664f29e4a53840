// The admin API's reads of windows and days, in SQL.
import { type Kysely, type Selectable, type SqlBool, sql } from "kysely";
import type { AnalyticsQueries, DayItem, WindowItem } from "../ports/analytics-queries.ts";
import { ALL, answered, olderThan, page } from "./pages.ts";
import type { Tables } from "./tables.ts";

export function postgresAnalyticsQueries(kysely: Kysely<Tables>): AnalyticsQueries {
  return {
    windows: async ({ limit, after, deviceId, metricName, fromMs, toMs }) => {
      const query = kysely
        .selectFrom("stream_analysis_results")
        .selectAll()
        .where("device_id", "=", deviceId)
        .where(metricName === null ? ALL : sql<SqlBool>`metric_name = ${metricName}`)
        .where(fromMs === null ? ALL : sql<SqlBool>`window_start >= ${new Date(fromMs)}`)
        .where(toMs === null ? ALL : sql<SqlBool>`window_start < ${new Date(toMs)}`)
        .where(
          after === null
            ? ALL
            : olderThan("window_start", ["metric_name", "gateway_id"], after.startMs * 1000, [
                after.metricName,
                after.gatewayId,
              ]),
        )
        .orderBy("window_start", "desc")
        .orderBy("metric_name")
        .orderBy("gateway_id")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, windowItem, (row) => ({
        startMs: row.window_start.getTime(),
        metricName: row.metric_name,
        gatewayId: row.gateway_id,
      }));
    },

    days: async ({ limit, after, deviceId, metricName, from, to }) => {
      const query = kysely
        .selectFrom("batch_analysis_results")
        .selectAll()
        .select(sql<string>`analysis_date::text`.as("date"))
        .where(deviceId === null ? ALL : sql<SqlBool>`device_id = ${deviceId}`)
        .where(metricName === null ? ALL : sql<SqlBool>`metric_name = ${metricName}`)
        .where(from === null ? ALL : sql<SqlBool>`analysis_date >= ${from}::date`)
        .where(to === null ? ALL : sql<SqlBool>`analysis_date <= ${to}::date`)
        .where(
          after === null
            ? ALL
            : sql<SqlBool>`(analysis_date < ${after.date}::date OR (analysis_date = ${after.date}::date
                AND ROW(device_id, metric_name, gateway_id) > ROW(${after.deviceId}, ${after.metricName}, ${after.gatewayId})))`,
        )
        .orderBy("analysis_date", "desc")
        .orderBy("device_id")
        .orderBy("metric_name")
        .orderBy("gateway_id")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, dayItem, (row) => ({
        date: row.date,
        deviceId: row.device_id,
        metricName: row.metric_name,
        gatewayId: row.gateway_id,
      }));
    },
  };
}

function windowItem(row: Selectable<Tables["stream_analysis_results"]>): WindowItem {
  return {
    cohort: row.cohort,
    gatewayId: row.gateway_id,
    deviceId: row.device_id,
    metricName: row.metric_name,
    windowStart: row.window_start.toISOString(),
    windowEnd: row.window_end.toISOString(),
    rawValue: row.raw_value,
    movingAvg30s: row.moving_avg_30s,
    movingAvg5m: row.moving_avg_5m,
    min: row.min,
    max: row.max,
    stddev: row.stddev,
    zScore: row.z_score,
    isAnomaly: row.is_anomaly,
    anomalyConfidence: row.anomaly_confidence,
    sampleCount: row.sample_count,
    lateCount: row.late_count,
  };
}

function dayItem(row: Selectable<Tables["batch_analysis_results"]> & { readonly date: string }): DayItem {
  return {
    cohort: row.cohort,
    gatewayId: row.gateway_id,
    deviceId: row.device_id,
    metricName: row.metric_name,
    analysisDate: row.date,
    avg: row.avg,
    min: row.min,
    max: row.max,
    stddev: row.stddev,
    sampleCount: row.sample_count,
    anomalyCount: row.anomaly_count,
    lateCount: row.late_count,
    analysisTimestamp: row.analysis_timestamp.toISOString(),
  };
}
