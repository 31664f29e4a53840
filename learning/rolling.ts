// Mean and standard deviation of each channel over the last rows, at constant cost a row and without drift.
import { copyInto, type RingSnapshot, RowRing } from "./row-ring.ts";

/** Below this share of the largest sum of squares since the last refresh, rounding would show in the deviation. */
const REFRESH_BELOW = 1e-6;

export interface RollingSnapshot {
  readonly ring: RingSnapshot<Float64Array>;
  readonly sums: Float64Array;
}

/**
 * Sums are kept about a per-channel shift near the mean, and taken anew from the rows themselves at every full turn of the
 * ring and whenever cancellation has eaten their precision (an extreme value has left, the level has moved).
 */
export class RollingStatistics {
  readonly #ring: RowRing<Float64Array>;
  readonly #sums: Float64Array;
  readonly #shift: Float64Array;
  readonly #sum: Float64Array;
  readonly #squares: Float64Array;
  /** The largest sum of squares since the last refresh: rounding errors are in proportion to it. */
  readonly #peak: Float64Array;

  constructor(channels: number, rows: number) {
    this.#ring = new RowRing(new Float64Array(rows * channels), channels);
    this.#sums = new Float64Array(4 * channels);
    const part = (index: number) => this.#sums.subarray(index * channels, (index + 1) * channels);
    this.#shift = part(0);
    this.#sum = part(1);
    this.#squares = part(2);
    this.#peak = part(3);
  }

  /** Rows held, at most the length of the statistics. */
  get count(): number {
    return this.#ring.count;
  }

  /** In the channel's unit; NaN before the first row. */
  mean(channel: number): number {
    return Number(this.#shift[channel]) + Number(this.#sum[channel]) / this.count;
  }

  /** Population standard deviation, in the channel's unit; NaN before the first row. */
  std(channel: number): number {
    return Math.sqrt(Math.max(0, this.#spread(channel)) / this.count);
  }

  /** One row of finite values, at most 1e30 in size, enters; the oldest leaves once the ring is full. */
  enter(row: Float64Array): void {
    const leaving = this.#ring.count === this.#ring.capacity ? this.#ring.nextOffset : -1;
    for (let c = 0; c < row.length; c++) {
      const shift = Number(this.#shift[c]);
      const added = Number(row[c]) - shift;
      const removed = leaving < 0 ? 0 : Number(this.#ring.values[leaving + c]) - shift;
      const squares = Number(this.#squares[c]) + added * added - removed * removed;
      this.#sum[c] = Number(this.#sum[c]) + added - removed;
      this.#squares[c] = squares;
      if (squares > Number(this.#peak[c])) this.#peak[c] = squares;
    }
    this.#ring.enter(row);
    const turned = this.#ring.nextOffset === 0;
    for (let c = 0; c < row.length; c++) {
      if (turned || this.#spread(c) < REFRESH_BELOW * Number(this.#peak[c])) this.#refresh(c);
    }
  }

  /** As if the channel had had this value in all the rows held. */
  fill(channel: number, value: number): void {
    if (this.count === 0) return;
    this.#ring.fill(channel, value);
    this.#shift[channel] = value;
    this.#sum[channel] = 0;
    this.#squares[channel] = 0;
    this.#peak[channel] = 0;
  }

  snapshot(): RollingSnapshot {
    return { ring: this.#ring.snapshot(), sums: this.#sums.slice() };
  }

  /** Throws RangeError when the snapshot is of other channels or another length. */
  adopt(snapshot: RollingSnapshot): void {
    this.#ring.adopt(snapshot.ring);
    copyInto(this.#sums, snapshot.sums);
  }

  /** Sum of squared deviations from the mean, with rounding: it may come out slightly negative. */
  #spread(channel: number): number {
    const sum = Number(this.#sum[channel]);
    return Number(this.#squares[channel]) - (sum * sum) / this.count;
  }

  #refresh(channel: number): void {
    const { values, columns } = this.#ring;
    const end = this.count * columns;
    let shift = Number(this.#shift[channel]);
    let sum = 0;
    for (let i = channel; i < end; i += columns) sum += Number(values[i]) - shift;
    shift += sum / this.count;
    sum = 0;
    let squares = 0;
    for (let i = channel; i < end; i += columns) {
      const deviation = Number(values[i]) - shift;
      sum += deviation;
      squares += deviation * deviation;
    }
    this.#shift[channel] = shift;
    this.#sum[channel] = sum;
    this.#squares[channel] = squares;
    this.#peak[channel] = squares;
  }
}
