// What is normal for one device's channels: streamed from the rows that may be learned, in force only once frozen.
import type { Reference, ReferenceSnapshot } from "./reference.ts";
import { copyInto } from "./row-ring.ts";

/** A learned value is drawn in to this many frozen σ from the mean, so that one wild reading cannot blind a channel. */
const REACH_SIGMAS = 10;

export interface NormaliserSnapshot {
  readonly frozen: boolean;
  /** Streamed means and variances, rows learned, frozen means and deviations; one part of length `channels` each. */
  readonly values: Float64Array;
}

/** The plan's `normaliser`. Welford 1962, Finch 2009. */
export class StreamingNormaliser implements Reference {
  /** Mean and deviation as frozen, length `channels`, in the channels' units; 0 and infinite until the first freeze. */
  readonly level: Float64Array;
  readonly scale: Float64Array;
  readonly spread: Float64Array;
  readonly #memoryRows: number;
  readonly #values: Float64Array;
  readonly #streamedMean: Float64Array;
  readonly #streamedVariance: Float64Array;
  readonly #learnedRows: Float64Array;
  #frozen = false;

  constructor(channels: number, memoryRows: number) {
    this.#memoryRows = memoryRows;
    this.#values = new Float64Array(5 * channels);
    const part = (index: number) => this.#values.subarray(index * channels, (index + 1) * channels);
    this.#streamedMean = part(0);
    this.#streamedVariance = part(1);
    this.#learnedRows = part(2);
    this.level = part(3);
    this.scale = part(4).fill(Number.POSITIVE_INFINITY);
    this.spread = this.scale;
  }

  get settled(): boolean {
    return this.#frozen;
  }

  get commissionedScale(): Float64Array {
    return this.scale;
  }

  inForce(channel: number): number {
    return Number(this.scale[channel]);
  }

  adoptFloor(): void {}

  observe(row: Float64Array, present: Uint8Array): void {
    if (!this.#frozen) this.learn(row, present);
  }

  commission(): void {
    this.freeze();
  }

  settle(): void {}

  accept(): void {}

  /**
   * Takes a row of finite values into the streamed mean and population variance; beyond the memory, older rows fade
   * exponentially. Welford 1962, Finch 2009.
   */
  learn(row: Float64Array, present: Uint8Array): void {
    for (let c = 0; c < row.length; c++) {
      if (present[c] === 0) continue;
      const rows = Math.min(Number(this.#learnedRows[c]) + 1, this.#memoryRows);
      const delta = this.#drawnIn(Number(row[c]), c) - Number(this.#streamedMean[c]);
      const mean = Number(this.#streamedMean[c]) + delta / rows;
      const rest = delta * (1 - 1 / rows) * delta;
      const variance = Number(this.#streamedVariance[c]);
      this.#learnedRows[c] = rows;
      this.#streamedMean[c] = mean;
      this.#streamedVariance[c] = variance + (rest - variance) / rows;
    }
  }

  /** Puts the streamed statistics into force; σ never falls below what rounding of the mean could pass for change. */
  freeze(): void {
    for (let c = 0; c < this.level.length; c++) {
      if (this.#learnedRows[c] === 0) continue;
      this.#frozen = true;
      const mean = Number(this.#streamedMean[c]);
      this.level[c] = mean;
      this.scale[c] = Math.max(Math.sqrt(Number(this.#streamedVariance[c])), 1e-6 * Math.abs(mean), 1e-12);
    }
  }

  snapshot(): ReferenceSnapshot {
    return { kind: "normaliser", frozen: this.#frozen, values: this.#values.slice() };
  }

  adopt(snapshot: ReferenceSnapshot): void {
    if (snapshot.kind !== "normaliser") throw new RangeError("the snapshot is of another reference");
    copyInto(this.#values, snapshot.values);
    this.#frozen = snapshot.frozen;
  }

  #drawnIn(value: number, channel: number): number {
    const mean = Number(this.level[channel]);
    const reach = REACH_SIGMAS * Number(this.scale[channel]);
    return Math.max(mean - reach, Math.min(mean + reach, value));
  }
}
