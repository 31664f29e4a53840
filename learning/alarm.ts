// Scores to alarms: raised by repeated exceedance and cleared by lasting quiet, or told at the onset alone.
import type { AlarmSettings } from "./plan.ts";

const WINDOW_ROWS = 5;
const MAJORITY_ROWS = 3;
const CLEAR_FRACTION = 0.8;
const CLEAR_MS = 60_000;
const WINDOW_MASK = (1 << WINDOW_ROWS) - 1;

export interface AlarmState {
  readonly active: boolean;
  /** One bit a row, the newest lowest: was its score over the threshold? */
  readonly recent: number;
  /** One bit a row, the newest lowest: was its score not below the clearing level? */
  readonly loud: number;
  /** Row time since which at most 2 of any 5 rows were loud; null: the last five are not quiet. */
  readonly quietSinceMs: number | null;
}

export const initialAlarm: AlarmState = { active: false, recent: 0, loud: 0, quietSinceMs: null };

const push = (window: number, bit: boolean) => ((window << 1) | Number(bit)) & WINDOW_MASK;

function bits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** How many of the last rows, at most four, were over the threshold before the row to come. */
export const recentlyOver = (state: AlarmState): number => bits(state.recent & (WINDOW_MASK >> 1));

export interface ScoredRow {
  readonly score: number;
  readonly threshold: number;
  /** Whether the row counts as over the threshold; without a word, when its score is. */
  readonly over?: boolean;
  /** Row time, epoch milliseconds. */
  readonly atMs: number;
}

/** What a device without a plan alarms by. */
const LASTING: AlarmSettings = { kind: "lasting" };

/**
 * Lasting: raised when 3 of the last 5 rows are over `threshold`; cleared when for 60 s of row time 3 of every 5 rows were
 * below 0.8 × threshold, after which exceedances count anew. So a single row neither raises an alarm nor keeps one up:
 * both look at the median of five. Onset: raised by a row that is over, cleared when for the refractory time none was.
 * A NaN score is neither over nor below.
 */
export function stepAlarm(state: AlarmState, row: ScoredRow, settings: AlarmSettings = LASTING): AlarmState {
  return settings.kind === "lasting" ? stepLasting(state, row) : stepOnset(settings.refractoryMs, state, row);
}

function stepLasting(state: AlarmState, { score, threshold, over = score > threshold, atMs }: ScoredRow): AlarmState {
  const recent = push(state.recent, over);
  const loud = push(state.loud, !(score < CLEAR_FRACTION * threshold));
  const quiet = bits(loud) < MAJORITY_ROWS;
  const quietSinceMs = quiet ? Math.min(state.quietSinceMs ?? atMs, atMs) : null;
  if (state.active && quietSinceMs !== null && atMs - quietSinceMs >= CLEAR_MS) return initialAlarm;
  return { active: state.active || bits(recent) >= MAJORITY_ROWS, recent, loud, quietSinceMs };
}

function stepOnset(
  refractoryMs: number,
  state: AlarmState,
  { score, threshold, over = score > threshold, atMs }: ScoredRow,
): AlarmState {
  const recent = push(state.recent, over);
  const loud = push(state.loud, !(score <= threshold));
  const quietSinceMs = over || state.quietSinceMs === null ? atMs : Math.min(state.quietSinceMs, atMs);
  const active = over || (state.active && atMs - quietSinceMs < refractoryMs);
  return { active, recent, loud, quietSinceMs };
}
