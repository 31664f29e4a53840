// What a time of day or week usually adds to a channel, learned as the days go by.
import type { SeasonSettings } from "./plan.ts";
import type { Reference } from "./reference.ts";
import { copyInto } from "./row-ring.ts";

const DAY_MS = 86_400_000;
const PERIOD_MS = { day: DAY_MS, week: 7 * DAY_MS } as const;
/** Older rows of a bin fade beyond so many. */
const MEMORY_ROWS = 2000;
/** A learned value is drawn in to this many spreads from the expected one: one wild reading cannot blind a bin. */
const REACH_SPREADS = 10;

export interface SeasonSnapshot {
  /** Offsets, then rows learned; `bins` × `channels` each. */
  readonly values: Float64Array;
}

/**
 * Each bin's mean distance from the level, in the channels' units, drawn towards none as if one more row had had none:
 * a bin seen once says half of what it saw. Bounded by bins × channels, at most 168 × 256.
 */
export class Season {
  readonly #channels: number;
  readonly #binMs: number;
  readonly #bins: number;
  readonly #values: Float64Array;

  constructor(channels: number, { period, bins }: SeasonSettings) {
    this.#channels = channels;
    this.#bins = bins;
    this.#binMs = PERIOD_MS[period] / bins;
    this.#values = new Float64Array(2 * bins * channels);
  }

  /** At row time `atMs`, epoch milliseconds. Weeks begin on Thursdays, as the epoch did. */
  offset(channel: number, atMs: number): number {
    return Number(this.#values[this.#at(channel, atMs)]);
  }

  /** `row` as it was read, NaN: a missing channel; `level` as without the season. */
  learn(row: Float64Array, { level, spread }: Pick<Reference, "level" | "spread">, atMs: number): void {
    const counts = this.#bins * this.#channels;
    for (let c = 0; c < row.length; c++) {
      if (Number.isNaN(row[c])) continue;
      const at = this.#at(c, atMs);
      const learned = Math.min(Number(this.#values[counts + at]) + 1, MEMORY_ROWS);
      const offset = Number(this.#values[at]);
      const reach = REACH_SPREADS * Number(spread[c]);
      const surprise = Math.max(-reach, Math.min(reach, Number(row[c]) - Number(level[c]) - offset));
      this.#values[at] = offset + surprise / (learned + 1);
      this.#values[counts + at] = learned;
    }
  }

  snapshot(): SeasonSnapshot {
    return { values: this.#values.slice() };
  }

  /** Throws RangeError when the snapshot is of another season. */
  adopt({ values }: SeasonSnapshot): void {
    copyInto(this.#values, values);
  }

  #at(channel: number, atMs: number): number {
    const bin = Math.floor(atMs / this.#binMs) % this.#bins;
    return ((bin + this.#bins) % this.#bins) * this.#channels + channel;
  }
}
