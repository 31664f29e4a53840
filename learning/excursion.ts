// A device's way out of its normal state and back, told from how its scores compare with its threshold.
import type { ExcursionSettings } from "./plan.ts";

/** A peak is what this many rows in a row reached: one wild row must not outshine the rest of an event. */
const PEAK_ROWS = 16;

/** Structured-clonable. */
export interface Excursion {
  /** Since when, as row time in epoch milliseconds; null: the device is in its normal state. */
  readonly sinceMs: number | null;
  /** The highest score / threshold that lasted; 0: none. */
  readonly peak: number;
  /** The last rows' score / threshold, oldest first. */
  readonly recent: readonly number[];
  /** Rows in a row that were far below the peak. */
  readonly lowRows: number;
  /** Rows in a row that were below the threshold by the clearing share. */
  readonly calmRows: number;
}

export const noExcursion: Excursion = { sinceMs: null, peak: 0, recent: [], lowRows: 0, calmRows: 0 };

export interface ExcursionStep {
  readonly state: Excursion;
  /** The row counts as anomalous. */
  readonly over: boolean;
  /** began: with this row; released: the state of the last rows is the new normal one. */
  readonly turn: "began" | "released" | null;
}

/**
 * One row's `ratio` = score / threshold (≥ 0) at row time `atMs`. An excursion begins above 1, lasts while the ratio stays
 * above `clearBelow`, and only rows that reach `belowPeak` of its peak count. A device that comes back ends it by itself;
 * one that settles elsewhere is released after `releaseRows` rows below that share, or at the latest after its time. A
 * NaN changes nothing and counts as nothing.
 */
export function stepExcursion(
  { clearBelow, belowPeak, releaseRows, releaseAfterMs }: ExcursionSettings,
  before: Excursion,
  { ratio, atMs }: { readonly ratio: number; readonly atMs: number },
): ExcursionStep {
  if (Number.isNaN(ratio)) return { state: before, over: false, turn: null };
  const on = ratio > (before.sinceMs === null ? 1 : clearBelow);
  const sinceMs = on ? Math.min(before.sinceMs ?? atMs, atMs) : null;
  const recent = [...before.recent, ratio].slice(-PEAK_ROWS);
  const lasting = recent.length === PEAK_ROWS ? Math.min(...recent) : 0;
  const calmRows = ratio < clearBelow ? before.calmRows + 1 : 0;
  const peak = calmRows >= releaseRows ? 0 : Math.max(before.peak, lasting > 1 ? lasting : 0);
  const low = peak > 0 && ratio < belowPeak * peak;
  const lowRows = low ? before.lowRows + 1 : 0;
  const timeUp = releaseAfterMs !== null && sinceMs !== null && atMs - sinceMs >= releaseAfterMs;
  if (lowRows >= releaseRows || timeUp) return { state: noExcursion, over: false, turn: "released" };
  return {
    state: { sinceMs, peak, recent, lowRows, calmRows },
    over: on && !low,
    turn: on && before.sinceMs === null ? "began" : null,
  };
}
