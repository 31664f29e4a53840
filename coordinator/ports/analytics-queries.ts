// What the admin API reads of windows and days, newest first. Times are ISO 8601 in UTC.
import type { Page } from "./fleet-queries.ts";

export interface SeriesRequest<Key> {
  readonly limit: number;
  /** Where the page before ended; null: from the newest. */
  readonly after: Key | null;
  /** null: all. */
  readonly metricName: string | null;
}

export interface WindowsRequest extends SeriesRequest<WindowKey> {
  readonly deviceId: string;
  /** Windows that begin then or later; null: from the oldest. */
  readonly fromMs: number | null;
  /** Windows that begin before; null: to the newest. */
  readonly toMs: number | null;
}

export interface DaysRequest extends SeriesRequest<DayKey> {
  /** null: all. */
  readonly deviceId: string | null;
  /** First and last, as 2026-11-25; null: no bound. */
  readonly from: string | null;
  readonly to: string | null;
}

export interface WindowKey {
  readonly startMs: number;
  readonly metricName: string;
  readonly gatewayId: string;
}

export interface DayKey {
  readonly date: string;
  readonly deviceId: string;
  readonly metricName: string;
  readonly gatewayId: string;
}

/** A channel in a window. Values are in the channel's unit; one that was not measured is null. */
export interface WindowItem {
  readonly cohort: string;
  readonly gatewayId: string;
  readonly deviceId: string;
  readonly metricName: string;
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly rawValue: number | null;
  readonly movingAvg30s: number | null;
  readonly movingAvg5m: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly stddev: number | null;
  readonly zScore: number | null;
  readonly isAnomaly: boolean | null;
  readonly anomalyConfidence: number | null;
  readonly sampleCount: number;
  readonly lateCount: number;
}

/** A channel on a day. */
export interface DayItem {
  readonly cohort: string;
  readonly gatewayId: string;
  readonly deviceId: string;
  readonly metricName: string;
  readonly analysisDate: string;
  readonly avg: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly stddev: number | null;
  readonly sampleCount: number;
  readonly anomalyCount: number;
  readonly lateCount: number;
  readonly analysisTimestamp: string;
}

/** Paging is as FleetQueries has it, and so is a store that does not answer. */
export interface AnalyticsQueries {
  windows(request: WindowsRequest): Promise<Page<WindowItem, WindowKey>>;
  days(request: DaysRequest): Promise<Page<DayItem, DayKey>>;
}
