// Rows to features: everything a model sees of one device.
import { featureLayout } from "./features.ts";
import { type NormaliserSnapshot, StreamingNormaliser } from "./normaliser.ts";
import type { Manifest, RollingStatistic } from "./plan.ts";
import { takeReadings } from "./readings.ts";
import { type RollingSnapshot, RollingStatistics } from "./rolling.ts";
import { type RingSnapshot, RowRing } from "./row-ring.ts";

/** Floor of the rolling deviation, in σ: under it a quiet spell would turn noise into events. */
const QUIET_STD = 1e-3;
const QUIET_Z_STD = 0.1;

export interface FrontEndSnapshot {
  readonly seenRows: number;
  readonly window: RingSnapshot<Float64Array>;
  readonly rolling: RollingSnapshot;
  readonly normaliser: NormaliserSnapshot;
}

export class FrontEnd {
  readonly #settings: Manifest;
  readonly #channels: number;
  /** Rows needed before the first features: commissioning, and the rest of a window. */
  readonly #leadRows: number;
  readonly #window: RowRing<Float64Array>;
  readonly #rolling: RollingStatistics;
  readonly #normaliser: StreamingNormaliser;
  readonly #row: Float64Array;
  #seenRows = 0;

  constructor(settings: Manifest) {
    const { windowRows, rollingRows } = settings.features;
    const channels = settings.channels.length;
    if (settings.featureCount !== featureLayout(settings).featureCount) {
      throw new RangeError(`${settings.featureCount} features do not follow from the plan's channels and features`);
    }
    this.#settings = settings;
    this.#channels = channels;
    this.#leadRows = Math.max(settings.commissioningRows, windowRows - 1, 1);
    this.#window = new RowRing(new Float64Array(Math.max(windowRows - 1, 1) * channels), channels);
    this.#rolling = new RollingStatistics(channels, rollingRows);
    this.#normaliser = new StreamingNormaliser(channels, settings.normaliserRows);
    this.#row = new Float64Array(channels);
  }

  /**
   * Features of `row` (length = channels) against the rows before it, then the row enters; null while commissioning, whose
   * rows the normaliser learns. Float32, finite, laid out as `featureLayout` says. Throws RangeError, changing nothing,
   * for another length or a value that is not finite.
   */
  observe(row: Float64Array): Float32Array | null {
    takeReadings(this.#row, row);
    const features = this.#seenRows < this.#leadRows ? null : this.#features();
    this.#window.enter(this.#row);
    this.#rolling.enter(this.#row);
    if (features !== null) return features;
    this.#normaliser.learn(this.#row);
    if (++this.#seenRows === this.#leadRows) this.#normaliser.freeze();
    return null;
  }

  /** Streams a row that `observe` has seen into the normaliser, which changes no feature until `freeze`. */
  learn(row: Float64Array): void {
    this.#normaliser.learn(row);
  }

  freeze(): void {
    if (this.#seenRows === this.#leadRows) this.#normaliser.freeze();
  }

  /** μ ± 3σ of a channel as frozen, in its unit. */
  expected(channel: number): [low: number, high: number] {
    const mean = Number(this.#normaliser.mean[channel]);
    const reach = 3 * Number(this.#normaliser.sigma[channel]);
    return [mean - reach, mean + reach];
  }

  snapshot(): FrontEndSnapshot {
    return {
      seenRows: this.#seenRows,
      window: this.#window.snapshot(),
      rolling: this.#rolling.snapshot(),
      normaliser: this.#normaliser.snapshot(),
    };
  }

  /** Throws RangeError when the snapshot is of another plan's shape. */
  adopt(snapshot: FrontEndSnapshot): void {
    this.#window.adopt(snapshot.window);
    this.#rolling.adopt(snapshot.rolling);
    this.#normaliser.adopt(snapshot.normaliser);
    this.#seenRows = snapshot.seenRows;
  }

  #features(): Float32Array {
    const { windowRows, rolling } = this.#settings.features;
    const features = new Float32Array(this.#settings.featureCount);
    let at = 0;
    for (let age = windowRows - 2; age >= 0; age--) {
      this.#normalise(this.#window.values, this.#window.offset(age), features, at);
      at += this.#channels;
    }
    this.#normalise(this.#row, 0, features, at);
    for (const statistic of rolling) {
      at += this.#channels;
      for (let c = 0; c < this.#channels; c++) features[at + c] = this.#statistic(statistic, c);
    }
    return features;
  }

  #normalise(from: Float64Array, offset: number, features: Float32Array, at: number): void {
    const { mean, sigma } = this.#normaliser;
    for (let c = 0; c < this.#channels; c++) {
      features[at + c] = Math.asinh((Number(from[offset + c]) - Number(mean[c])) / Number(sigma[c]));
    }
  }

  #statistic(statistic: RollingStatistic, channel: number): number {
    const sigma = Number(this.#normaliser.sigma[channel]);
    const rollingMean = this.#rolling.mean(channel);
    switch (statistic) {
      case "mean":
        return Math.asinh((rollingMean - Number(this.#normaliser.mean[channel])) / sigma);
      case "std":
        return Math.log(Math.max(this.#rolling.std(channel) / sigma, QUIET_STD));
      case "z":
        return Math.asinh(
          (Number(this.#row[channel]) - rollingMean) / Math.max(this.#rolling.std(channel), QUIET_Z_STD * sigma),
        );
    }
  }
}
