// From a reading to a row: the values of its channels, in order.
import type { Reading } from "./default-mapping.ts";
import { type Refusal, refusal } from "./refusal.ts";

/** Squares of larger values would leave the range of a double's statistics. */
const MAX_MAGNITUDE = 1e30;

export const isValue = (value: unknown): value is number =>
  typeof value === "number" && Math.abs(value) <= MAX_MAGNITUDE;

/**
 * The reading's values in the order of `channels`; channels it has beyond them are not used. Where it `mayLack` channels,
 * a missing one is NaN, as long as one is there.
 */
export function rowOf(reading: Reading, channels: readonly string[], mayLack: boolean): Float64Array | Refusal {
  const row = new Float64Array(channels.length);
  for (const [index, channel] of channels.entries()) {
    const value = reading.values.get(channel);
    if (value === undefined && !mayLack) {
      return refusal("missing_channel", `channel ${channel} is missing; the row is not used`);
    }
    if (value === undefined || (value === null && mayLack)) {
      row[index] = Number.NaN;
      continue;
    }
    if (!isValue(value)) return refusal("bad_value", `channel ${channel} must be a number within ±1e30`);
    row[index] = value;
  }
  return row.every(Number.isNaN) ? refusal("missing_channel", "no channel of the device is there") : row;
}
