// What is normal for one device's channels: streamed from the rows that may be learned, in force only once frozen.
import { copyInto } from "./row-ring.ts";

/** A learned value is drawn in to this many frozen σ from the mean, so that one wild reading cannot blind a channel. */
const REACH_SIGMAS = 10;

export interface NormaliserSnapshot {
  readonly learnedRows: number;
  readonly frozen: boolean;
  /** Streamed means, streamed variances, frozen means, frozen deviations; one part of length `channels` each. */
  readonly values: Float64Array;
}

export class StreamingNormaliser {
  /** Frozen statistics, length `channels`, in the channels' units; 0 and 1 until the first freeze. */
  readonly mean: Float64Array;
  readonly sigma: Float64Array;
  readonly #memoryRows: number;
  readonly #values: Float64Array;
  readonly #streamedMean: Float64Array;
  readonly #streamedVariance: Float64Array;
  #learnedRows = 0;
  #frozen = false;

  constructor(channels: number, memoryRows: number) {
    this.#memoryRows = memoryRows;
    this.#values = new Float64Array(4 * channels);
    const part = (index: number) => this.#values.subarray(index * channels, (index + 1) * channels);
    this.#streamedMean = part(0);
    this.#streamedVariance = part(1);
    this.mean = part(2);
    this.sigma = part(3).fill(1);
  }

  /**
   * Takes a row of finite values into the streamed mean and population variance; beyond the memory, older rows fade
   * exponentially. Welford 1962, Finch 2009.
   */
  learn(row: Float64Array): void {
    this.#learnedRows = Math.min(this.#learnedRows + 1, this.#memoryRows);
    for (let c = 0; c < row.length; c++) {
      const delta = this.#drawnIn(Number(row[c]), c) - Number(this.#streamedMean[c]);
      const mean = Number(this.#streamedMean[c]) + delta / this.#learnedRows;
      const rest = delta * (1 - 1 / this.#learnedRows) * delta;
      const variance = Number(this.#streamedVariance[c]);
      this.#streamedMean[c] = mean;
      this.#streamedVariance[c] = variance + (rest - variance) / this.#learnedRows;
    }
  }

  /** Puts the streamed statistics into force; σ never falls below what rounding of the mean could pass for change. */
  freeze(): void {
    if (this.#learnedRows === 0) return;
    this.#frozen = true;
    for (let c = 0; c < this.mean.length; c++) {
      const mean = Number(this.#streamedMean[c]);
      this.mean[c] = mean;
      this.sigma[c] = Math.max(Math.sqrt(Number(this.#streamedVariance[c])), 1e-6 * Math.abs(mean), 1e-12);
    }
  }

  snapshot(): NormaliserSnapshot {
    return { learnedRows: this.#learnedRows, frozen: this.#frozen, values: this.#values.slice() };
  }

  /** Throws RangeError when the snapshot is of another number of channels. */
  adopt(snapshot: NormaliserSnapshot): void {
    copyInto(this.#values, snapshot.values);
    this.#learnedRows = snapshot.learnedRows;
    this.#frozen = snapshot.frozen;
  }

  #drawnIn(value: number, channel: number): number {
    if (!this.#frozen) return value;
    const mean = Number(this.mean[channel]);
    const reach = REACH_SIGMAS * Number(this.sigma[channel]);
    return Math.max(mean - reach, Math.min(mean + reach, value));
  }
}
