// A level that follows a device's drift but not its faults, and the scale of what is normal about it.
import type { ExcursionStep } from "./excursion.ts";
import type { ReferenceSettings } from "./plan.ts";
import type { Reference, ReferenceSnapshot } from "./reference.ts";
import { type RollingSnapshot, RollingStatistics } from "./rolling.ts";
import { copyInto, type RingSnapshot, RowRing } from "./row-ring.ts";

export interface GatedBaselineSnapshot {
  readonly seenRows: number;
  readonly commissioned: boolean;
  /**
   * Levels, scales, spreads, squared distances of means and of readings, how many, rows that moved the level, commissioned
   * scales, and squares of adapted ones.
   */
  readonly values: Float64Array;
  readonly mean: RollingSnapshot;
  readonly levels: RingSnapshot<Float64Array>;
}

type Settings = Extract<ReferenceSettings, { kind: "gated_baseline" }>;

/** The plan's `gated_baseline`: see ReferenceSettings for what its settings mean. */
export class GatedBaseline implements Reference {
  readonly level: Float64Array;
  readonly scale: Float64Array;
  readonly spread: Float64Array;
  readonly #settings: Settings;
  readonly #values: Float64Array;
  readonly #meanSquares: Float64Array;
  readonly #squares: Float64Array;
  readonly #counts: Float64Array;
  readonly #movedRows: Float64Array;
  readonly #commissionedScale: Float64Array;
  readonly #adapted: Float64Array;
  readonly #mean: RollingStatistics;
  /** The last levels, for an excursion to go back to: its first rows have moved them before it was told. */
  readonly #levels: RowRing<Float64Array>;
  #seenRows = 0;
  #commissioned = false;
  #floor: Float64Array | null = null;

  constructor(channels: number, settings: Settings) {
    this.#settings = settings;
    this.#values = new Float64Array(9 * channels);
    const part = (index: number) => this.#values.subarray(index * channels, (index + 1) * channels);
    this.level = part(0);
    this.scale = part(1).fill(Number.POSITIVE_INFINITY);
    this.spread = part(2).fill(Number.POSITIVE_INFINITY);
    this.#meanSquares = part(3);
    this.#squares = part(4);
    this.#counts = part(5);
    this.#movedRows = part(6);
    this.#commissionedScale = part(7);
    this.#adapted = part(8);
    this.#mean = new RollingStatistics(channels, settings.meanRows);
    this.#levels = new RowRing(new Float64Array(Math.max(1, settings.rollBackRows) * channels), channels);
  }

  get settled(): boolean {
    return this.#seenRows >= this.#settings.scaleFromRow;
  }

  get commissionedScale(): Float64Array {
    return this.#commissioned ? this.#commissionedScale : this.scale;
  }

  inForce(channel: number): number {
    return Math.max(Number(this.scale[channel]), Number(this.#floor?.[channel] ?? 0));
  }

  adoptFloor(scales: Float64Array | null): void {
    this.#floor = scales;
  }

  /** Before its first reading a channel was where that is. */
  observe(row: Float64Array, present: Uint8Array): void {
    const { memoryRows, scaleFromRow } = this.#settings;
    for (let c = 0; c < row.length; c++) {
      if (present[c] === 1 && this.#movedRows[c] === 0) this.#mean.fill(c, Number(row[c]));
    }
    this.#mean.enter(row);
    this.#seenRows++;
    for (let c = 0; c < row.length; c++) {
      if (present[c] === 0 || this.#stands(c)) continue;
      const moved = Number(this.#movedRows[c]) + 1;
      this.#movedRows[c] = moved;
      const rate = Math.max(1 / memoryRows, 1 / moved);
      this.level[c] = Number(this.level[c]) + rate * (Number(row[c]) - Number(this.level[c]));
      if (!this.#commissioned && this.#seenRows >= scaleFromRow) this.#measure(c, Number(row[c]));
    }
    this.#levels.enter(this.level);
  }

  commission(): void {
    this.#commissioned = true;
    this.#commissionedScale.set(this.scale);
    for (let c = 0; c < this.scale.length; c++) this.#adapted[c] = Number(this.scale[c]) ** 2;
  }

  learn(): void {}

  freeze(): void {}

  settle(turn: ExcursionStep["turn"], on: boolean): void {
    if (turn === "began" && this.#settings.rollBackRows > 0) this.level.set(this.#levels.oldest());
    if (turn === "released") this.#beginAnew();
    if (!on) this.#adapt();
  }

  accept(): void {
    for (let c = 0; c < this.level.length; c++) {
      const level = Number(this.level[c]);
      if (this.#stands(c)) this.level[c] = level + (this.#mean.mean(c) - level) / this.#settings.memoryRows;
    }
  }

  snapshot(): ReferenceSnapshot {
    return {
      kind: "gated_baseline",
      seenRows: this.#seenRows,
      commissioned: this.#commissioned,
      values: this.#values.slice(),
      mean: this.#mean.snapshot(),
      levels: this.#levels.snapshot(),
    };
  }

  adopt(snapshot: ReferenceSnapshot): void {
    if (snapshot.kind !== "gated_baseline") throw new RangeError("the snapshot is of another reference");
    copyInto(this.#values, snapshot.values);
    this.#mean.adopt(snapshot.mean);
    this.#seenRows = snapshot.seenRows;
    this.#commissioned = snapshot.commissioned;
    this.#levels.adopt(snapshot.levels);
  }

  /** Scale and spread never fall below what rounding of the level could pass for change. */
  #measure(channel: number, value: number): void {
    const level = Number(this.level[channel]);
    const count = Number(this.#counts[channel]) + 1;
    const meanSquares = Number(this.#meanSquares[channel]) + (this.#mean.mean(channel) - level) ** 2;
    const squares = Number(this.#squares[channel]) + (value - level) ** 2;
    const floor = Math.max(1e-6 * Math.abs(level), 1e-12);
    this.#counts[channel] = count;
    this.#meanSquares[channel] = meanSquares;
    this.#squares[channel] = squares;
    this.scale[channel] = Math.max(Math.sqrt(meanSquares / count), floor);
    this.spread[channel] = Math.max(Math.sqrt(squares / count), floor);
  }

  /** Where the device is now is its normal state. */
  #beginAnew(): void {
    for (let c = 0; c < this.level.length; c++) {
      this.level[c] = this.#mean.mean(c);
      this.#levels.fill(c, Number(this.level[c]));
    }
  }

  /** What is further away than the gate counts as at the gate. */
  #adapt(): void {
    const { adaptation, gate } = this.#settings;
    if (adaptation === null || !this.#commissioned) return;
    for (let c = 0; c < this.scale.length; c++) {
      const own = Number(this.#commissionedScale[c]);
      if (!Number.isFinite(own)) continue;
      const distance = Math.min(Math.abs(this.#mean.mean(c) - Number(this.level[c])), gate * this.inForce(c));
      const before = Number(this.#adapted[c]);
      const rows = distance ** 2 > before ? adaptation.upRows : adaptation.downRows;
      const adapted = Math.min(before + (distance ** 2 - before) / rows, (adaptation.atMost * own) ** 2);
      this.#adapted[c] = adapted;
      this.scale[c] = Math.max(own, Math.sqrt(adapted));
    }
  }

  #stands(channel: number): boolean {
    const distance = this.#mean.mean(channel) - Number(this.level[channel]);
    return this.#commissioned && Math.abs(distance) > this.#settings.gate * this.inForce(channel);
  }
}
