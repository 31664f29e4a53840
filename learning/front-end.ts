// Rows to features: everything a model sees of one device.
import type { ExcursionStep } from "./excursion.ts";
import { featureLayout, lookBackRows, type Squash } from "./features.ts";
import { GatedBaseline } from "./gated-baseline.ts";
import { StreamingNormaliser } from "./normaliser.ts";
import type { ColumnSettings, FeatureSettings, Manifest, RollingStatistic } from "./plan.ts";
import { takeReadings } from "./readings.ts";
import type { Reference, ReferenceSnapshot } from "./reference.ts";
import { type RollingSnapshot, RollingStatistics } from "./rolling.ts";
import { copyInto, type RingSnapshot, RowRing } from "./row-ring.ts";
import { Season, type SeasonSnapshot } from "./season.ts";

/** Floors of the rolling deviation, in scales: under them a quiet spell would turn noise into events. */
const QUIET_STD = 1e-3;
const QUIET_Z_STD = 0.1;
/** A channel that commissioning saw less often says nothing: there is no telling what is normal for it. */
const MIN_PRESENT_ROWS = 30;

export interface FrontEndSnapshot {
  readonly seenRows: number;
  /** Time of the last row, epoch milliseconds. */
  readonly atMs: number;
  /** Each channel's last reading (NaN: none), then in how many rows of commissioning it was there. */
  readonly channels: Float64Array;
  readonly history: RingSnapshot<Float64Array>;
  readonly statistics: readonly RollingSnapshot[];
  readonly reference: ReferenceSnapshot;
  readonly season: SeasonSnapshot | null;
}

/** One column of every channel. */
interface ColumnValue {
  /** Taken before the row enters the statistics and the reference. */
  readonly beforeRow: boolean;
  readonly of: (channel: number) => number;
}

/** Rows of a new device before the first that `observe` gives columns of. */
export function rowsBeforeColumns(plan: Pick<Manifest, "features" | "commissioningRows">): number {
  const { reference, columns } = plan.features;
  const lookBack = lookBackRows(columns);
  return reference.kind === "normaliser" ? Math.max(plan.commissioningRows, lookBack) : lookBack;
}

/** Readings that a device keeps for its features to look back at, float64 each. */
export function historyValues({ channels, features }: Pick<Manifest, "channels" | "features">): number {
  const { columns, reference } = features;
  const kept = reference.kind === "normaliser" ? [] : [reference.meanRows, reference.rollBackRows];
  const rows = [historyRows(columns), ...statisticsRows(columns), ...kept];
  return channels.length * rows.reduce((sum, count) => sum + count, 0);
}

/** Whether rows may lack channels: a missing value is NaN in a row, and its channel's last reading to the columns. */
export const mayLackChannels = ({ columns }: FeatureSettings): boolean =>
  columns.some(({ kind }) => kind === "missing");

/** One device's way from rows to features; memory is bounded by the plan's lengths. Snapshots restore it bit for bit. */
export class FrontEnd {
  readonly #settings: Manifest;
  readonly #channels: number;
  readonly #squashOf: readonly Squash[];
  readonly #mayLack: boolean;
  readonly #leadRows: number;
  readonly #history: RowRing<Float64Array>;
  /** By length; the columns over equally many rows share one. */
  readonly #statistics: ReadonlyMap<number, RollingStatistics>;
  readonly #reference: Reference;
  readonly #season: Season | null;
  readonly #channelState: Float64Array;
  readonly #last: Float64Array;
  readonly #presentRows: Float64Array;
  readonly #reading: Float64Array;
  /** The reading with its gaps filled and its season taken off. */
  readonly #row: Float64Array;
  readonly #present: Uint8Array;
  /** What `learn` tells the reference of a row. */
  readonly #told: Float64Array;
  readonly #toldPresent: Uint8Array;
  readonly #values: readonly ColumnValue[];
  #seenRows = 0;
  #atMs = 0;

  constructor(settings: Manifest) {
    const { columns, reference, season } = settings.features;
    const channels = settings.channels.length;
    const { featureCount, squashOf } = featureLayout(settings);
    if (settings.featureCount !== featureCount) {
      throw new RangeError(`${settings.featureCount} features do not follow from the plan's channels and features`);
    }
    this.#settings = settings;
    this.#channels = channels;
    this.#squashOf = squashOf;
    this.#mayLack = mayLackChannels(settings.features);
    this.#leadRows = rowsBeforeColumns(settings);
    this.#history = new RowRing(new Float64Array(Math.max(historyRows(columns), 1) * channels), channels);
    this.#statistics = new Map(statisticsRows(columns).map((rows) => [rows, new RollingStatistics(channels, rows)]));
    this.#reference =
      reference.kind === "normaliser"
        ? new StreamingNormaliser(channels, reference.rows)
        : new GatedBaseline(channels, reference);
    this.#season = season && new Season(channels, season);
    this.#channelState = new Float64Array(2 * channels);
    this.#last = this.#channelState.subarray(0, channels).fill(Number.NaN);
    this.#presentRows = this.#channelState.subarray(channels);
    this.#reading = new Float64Array(channels);
    this.#row = new Float64Array(channels);
    this.#present = new Uint8Array(channels);
    this.#told = new Float64Array(channels);
    this.#toldPresent = new Uint8Array(channels);
    this.#values = columns.flatMap((column) => {
      const beforeRow = column.kind === "rolling";
      return this.#valuesOf(column).map((of) => ({ beforeRow, of }));
    });
  }

  get commissioned(): boolean {
    return this.#seenRows >= this.#settings.commissioningRows;
  }

  /**
   * Columns [featureCount] of `row` (length = channels) among the rows before it, at row time `atMs`, in their
   * channels' units: `features` scales them. Null for the first rows, see `rowsBeforeColumns`. Throws RangeError,
   * changing nothing, for another length or a value that is not finite (NaN is a missing one, see `mayLackChannels`).
   */
  observe(row: Float64Array, atMs: number): Float32Array | null {
    takeReadings(this.#reading, row, this.#mayLack);
    this.#atMs = atMs;
    const commissioning = !this.commissioned;
    for (let c = 0; c < this.#channels; c++) this.#take(c, commissioning);
    const columns = this.#seenRows < this.#leadRows ? null : new Float32Array(this.#settings.featureCount);
    if (columns !== null) this.#write(columns, true);
    for (const statistics of this.#statistics.values()) statistics.enter(this.#row);
    this.#reference.observe(this.#row, this.#present);
    if (commissioning) this.#learnSeason();
    if (columns !== null) this.#write(columns, false);
    this.#history.enter(this.#row);
    this.#seenRows++;
    if (commissioning && this.commissioned) this.#reference.commission();
    return columns;
  }

  /** Features of columns that `observe` gave, under the scales in force: float32, finite. */
  features(columns: Float32Array): Float32Array {
    const features = new Float32Array(columns.length);
    for (let c = 0; c < this.#channels; c++) {
      const scale = this.#scale(c);
      for (let at = c; at < columns.length; at += this.#channels)
        features[at] = this.#feature(Number(columns[at]), at, scale);
    }
    return features;
  }

  /** A row that `observe` has seen may be learned: by the season at once, by the reference until `freeze` unseen. */
  learn(row: Float64Array, atMs: number): void {
    if (!this.commissioned) return;
    takeReadings(this.#reading, row, this.#mayLack);
    const [told, present] = [this.#told, this.#toldPresent];
    for (let c = 0; c < this.#channels; c++) {
      const value = Number(this.#reading[c]);
      present[c] = Number.isNaN(value) ? 0 : 1;
      told[c] = present[c] === 0 ? 0 : value - this.#offset(c, atMs);
    }
    this.#learnSeason(atMs);
    this.#reference.learn(told, present);
  }

  /** Puts what was learned into force; does nothing while commissioning. */
  freeze(): void {
    if (this.commissioned) this.#reference.freeze();
  }

  /** See Reference.accept. */
  accept(): void {
    this.#reference.accept();
  }

  /** See Reference.settle. */
  settle(turn: ExcursionStep["turn"], on: boolean): void {
    this.#reference.settle(turn, on);
  }

  /** The device's own scale of each channel as commissioned, in its unit; not finite for a channel that says nothing. */
  ownScales(): Float64Array {
    return this.#reference.commissionedScale.map((scale, channel) =>
      this.#isMute(channel) ? Number.POSITIVE_INFINITY : scale,
    );
  }

  /** Scales are at least the plan's share of these from now on; null: none are known. */
  adoptFleetScales(scales: Float64Array | null): void {
    const { reference } = this.#settings.features;
    const share = reference.kind === "gated_baseline" ? reference.fleetFloor : 0;
    this.#reference.adoptFloor(share > 0 && scales !== null ? scales.map((scale) => share * scale) : null);
  }

  /** Level ± 3 spreads of a channel at the last row's time, in its unit; the level alone while no spread is known. */
  expected(channel: number): [low: number, high: number] {
    const level = Number(this.#reference.level[channel]) + this.#offset(channel, this.#atMs);
    const spread = Number(this.#reference.spread[channel]);
    const reach = Number.isFinite(spread) ? 3 * spread : 0;
    return [level - reach, level + reach];
  }

  snapshot(): FrontEndSnapshot {
    return {
      seenRows: this.#seenRows,
      atMs: this.#atMs,
      channels: this.#channelState.slice(),
      history: this.#history.snapshot(),
      statistics: Array.from(this.#statistics.values(), (statistics) => statistics.snapshot()),
      reference: this.#reference.snapshot(),
      season: this.#season?.snapshot() ?? null,
    };
  }

  /** Throws RangeError when the snapshot is of another plan's shape. */
  adopt(snapshot: FrontEndSnapshot): void {
    const sameParts =
      snapshot.statistics.length === this.#statistics.size && (snapshot.season === null) === (this.#season === null);
    if (!sameParts) throw new RangeError("the snapshot is of another front end");
    copyInto(this.#channelState, snapshot.channels);
    this.#history.adopt(snapshot.history);
    for (const [index, statistics] of [...this.#statistics.values()].entries()) {
      statistics.adopt(snapshot.statistics[index] as RollingSnapshot);
    }
    this.#reference.adopt(snapshot.reference);
    if (snapshot.season !== null) this.#season?.adopt(snapshot.season);
    this.#seenRows = snapshot.seenRows;
    this.#atMs = snapshot.atMs;
  }

  /** A missing channel keeps its last value. Before its first it is at its level, and then was where the first is. */
  #take(channel: number, commissioning: boolean): void {
    const reading = Number(this.#reading[channel]);
    const first = Number.isNaN(this.#last[channel]);
    const present = !Number.isNaN(reading);
    this.#present[channel] = present ? 1 : 0;
    if (present) this.#last[channel] = reading;
    if (present && commissioning) this.#presentRows[channel] = Number(this.#presentRows[channel]) + 1;
    const known = present || !first;
    const value = known
      ? Number(this.#last[channel]) - this.#offset(channel, this.#atMs)
      : this.#reference.level[channel];
    this.#row[channel] = Number(value);
    if (!(present && first)) return;
    this.#history.fill(channel, Number(value));
    for (const statistics of this.#statistics.values()) statistics.fill(channel, Number(value));
  }

  #offset(channel: number, atMs: number): number {
    return this.#season?.offset(channel, atMs) ?? 0;
  }

  /** A season is told from the level, so there must be one. */
  #learnSeason(atMs = this.#atMs): void {
    if (this.#reference.settled) this.#season?.learn(this.#reading, this.#reference, atMs);
  }

  #isMute(channel: number): boolean {
    const needed = Math.min(MIN_PRESENT_ROWS, this.#settings.commissioningRows);
    return Number(this.#presentRows[channel]) < needed;
  }

  #scale(channel: number): number {
    return this.#isMute(channel) ? Number.POSITIVE_INFINITY : this.#reference.inForce(channel);
  }

  #feature(column: number, at: number, scale: number): number {
    const { squash } = this.#settings.features;
    switch (this.#squashOf[at]) {
      case "distance":
        return squash * Math.asinh(column / (squash * scale));
      case "spread":
        return Math.log(Math.max(column / scale, QUIET_STD));
      default:
        return column;
    }
  }

  #write(columns: Float32Array, beforeRow: boolean): void {
    let at = 0;
    for (const value of this.#values) {
      if (value.beforeRow === beforeRow) for (let c = 0; c < this.#channels; c++) columns[at + c] = value.of(c);
      at += this.#channels;
    }
  }

  /** One function of the channel for each of a column's values. */
  #valuesOf(column: ColumnSettings): ((channel: number) => number)[] {
    const { level } = this.#reference;
    const row = (channel: number) => Number(this.#row[channel]);
    const past = (age: number, channel: number) =>
      age === 0 ? row(channel) : Number(this.#history.values[this.#history.offset(age - 1) + channel]);
    const distance = (value: number, channel: number) => value - Number(level[channel]);
    switch (column.kind) {
      case "window":
        return Array.from(
          { length: column.rows },
          (_, index) => (channel) => distance(past(column.rows - 1 - index, channel), channel),
        );
      case "lags":
        return column.rows.map((age) => (channel) => distance(past(age, channel), channel));
      case "differences":
        return column.rows.map((age) => (channel) => row(channel) - past(age, channel));
      case "means":
        return column.rows.map((rows) => (channel) => distance(this.#over(rows).mean(channel), channel));
      case "rolling":
        return column.statistics.map((statistic) => (channel) => this.#rolling(statistic, column.rows, channel));
      case "missing":
        return [(channel) => 1 - Number(this.#present[channel])];
    }
  }

  #rolling(statistic: RollingStatistic, rows: number, channel: number): number {
    const statistics = this.#over(rows);
    const mean = statistics.mean(channel);
    switch (statistic) {
      case "mean":
        return mean - Number(this.#reference.level[channel]);
      case "std":
        return statistics.std(channel);
      case "z": {
        const quiet = this.#isMute(channel)
          ? Number.POSITIVE_INFINITY
          : QUIET_Z_STD * Number(this.#reference.scale[channel]);
        return Math.asinh((Number(this.#row[channel]) - mean) / Math.max(statistics.std(channel), quiet));
      }
    }
  }

  #over(rows: number): RollingStatistics {
    const statistics = this.#statistics.get(rows);
    if (statistics === undefined) throw new Error(`there are no statistics over ${rows} rows`);
    return statistics;
  }
}

/** How many of the rows before the current one the columns look at. */
function historyRows(columns: readonly ColumnSettings[]): number {
  return Math.max(
    ...columns.map((column) => {
      switch (column.kind) {
        case "window":
          return column.rows - 1;
        case "lags":
        case "differences":
          return Math.max(...column.rows);
        default:
          return 0;
      }
    }),
  );
}

/** The lengths, each once, that statistics are taken over. */
function statisticsRows(columns: readonly ColumnSettings[]): number[] {
  const lengths = columns.flatMap((column) => {
    switch (column.kind) {
      case "means":
        return column.rows;
      case "rolling":
        return [column.rows];
      default:
        return [];
    }
  });
  return [...new Set(lengths)].sort((a, b) => a - b);
}
