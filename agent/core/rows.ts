// From a device's readings to its rows: which channels it has, and that a row's time is after the last one's.
import { isChannelName, isLabel } from "../../learning/channels.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { type Refusal, refusal } from "../../learning/telemetry/refusal.ts";
import { isValue } from "../../learning/telemetry/row-of.ts";
import { type Behind, isSetBack, stepBehind } from "./set-back.ts";

/** Channel sets of devices without a plan are bounded. */
const MAX_CHANNELS = 64;
/** The channels of a device that no plan describes: the numbers of its first reading that a plan could name. */
export function channelsOf(reading: Reading): string[] | Refusal {
  const names = [...reading.values]
    .filter(([name, value]) => isValue(value) && isChannelName(name) && !isLabel(name))
    .map(([name]) => name)
    .slice(0, MAX_CHANNELS);
  return names.length > 0 ? names : refusal("bad_value", "no channel with an acceptable name holds a number");
}

/** Row time of one device. */
export interface RowClock {
  readonly lastAtMs: number;
  readonly behind: Behind | null;
}

/** How far a burst of rows without times may run ahead of the clock. */
const BURST_MS = 1_000;

/**
 * The time of a row. One that came without a time has that of its arrival, and two that arrive in the same millisecond,
 * or a few after one another, are still two rows: the later one counts a millisecond on.
 */
export function rowTime(clock: RowClock | null, reading: Pick<Reading, "atMs" | "receivedAtMs">): number {
  const { atMs, receivedAtMs } = reading;
  const aheadMs = (clock?.lastAtMs ?? Number.NEGATIVE_INFINITY) - atMs;
  return atMs === receivedAtMs && aheadMs >= 0 && aheadMs < BURST_MS ? atMs + aheadMs + 1 : atMs;
}

/**
 * Time only goes forward; a clock that was set back is believed after 20 rows that come as fast as they were made, else
 * one wrong date would silence a device. `atMs`: of the row; `receivedAtMs`: when it came.
 */
export function stepClock(
  clock: RowClock | null,
  atMs: number,
  receivedAtMs: number,
): {
  readonly clock: RowClock;
  readonly verdict: "in_order" | "stepped_back" | "duplicate_timestamp" | "out_of_order";
} {
  if (clock === null || atMs > clock.lastAtMs) return { clock: { lastAtMs: atMs, behind: null }, verdict: "in_order" };
  if (atMs === clock.lastAtMs || atMs === clock.behind?.atMs) return { clock, verdict: "duplicate_timestamp" };
  const behind = stepBehind(clock.behind, { atMs, receivedAtMs });
  if (isSetBack(behind)) return { clock: { lastAtMs: atMs, behind: null }, verdict: "stepped_back" };
  return { clock: { lastAtMs: clock.lastAtMs, behind }, verdict: "out_of_order" };
}
