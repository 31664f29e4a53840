// What a device's readings are told from: a level and a scale for each channel.
import type { ExcursionStep } from "./excursion.ts";
import type { GatedBaselineSnapshot } from "./gated-baseline.ts";
import type { NormaliserSnapshot } from "./normaliser.ts";

export type ReferenceSnapshot =
  | ({ readonly kind: "normaliser" } & NormaliserSnapshot)
  | ({ readonly kind: "gated_baseline" } & GatedBaselineSnapshot);

/** A row has one value a channel, all finite. */
export interface Reference {
  /** In the channels' units, length `channels`. */
  readonly level: Float64Array;
  /** The device's own measure of distances, in the channels' units; positive, infinite while it knows none. */
  readonly scale: Float64Array;
  /** The same as it was at the end of commissioning: what a fleet compares. */
  readonly commissionedScale: Float64Array;
  /** Typical distance of a single reading from the level, in the channels' units; infinite while it knows none. */
  readonly spread: Float64Array;
  /** The level has seen enough rows for others to be told from it. */
  readonly settled: boolean;
  /** The scale that counts: the channel's own, at least its floor. */
  inForce(channel: number): number;
  /** Length `channels`; null: none. Not part of a snapshot. */
  adoptFloor(scales: Float64Array | null): void;
  /** Every row, before its features are taken; `present[c]` 0: the channel's value was filled in. */
  observe(row: Float64Array, present: Uint8Array): void;
  /** Once, after the last row of commissioning. */
  commission(): void;
  /** A row that may be learned, once commissioned; `present` as above. */
  learn(row: Float64Array, present: Uint8Array): void;
  /** Puts what was learned into force. */
  freeze(): void;
  /** After every judged row: the turn of an excursion that it made, and whether one is on. */
  settle(turn: ExcursionStep["turn"], on: boolean): void;
  /** After a row that nothing judged: it counts as normal, however far it is. */
  accept(): void;
  snapshot(): ReferenceSnapshot;
  /** Throws RangeError when the snapshot is of another reference. */
  adopt(snapshot: ReferenceSnapshot): void;
}
