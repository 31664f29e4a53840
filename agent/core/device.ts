// One device: its rows, the detector that serves it, and the records that survive a restart.
import { type AlarmState, initialAlarm, recentlyOver, stepAlarm } from "../../learning/alarm.ts";
import { contributors } from "../../learning/contributors.ts";
import { mayLackChannels } from "../../learning/front-end.ts";
import type { DeviceId } from "../../learning/ids.ts";
import { growsTrees, takesLabels } from "../../learning/models/signature.ts";
import { DeviceMonitor, type DeviceSnapshot, type Observed } from "../../learning/monitor.ts";
import type { Channel, Manifest } from "../../learning/plan.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { isRefusal, type Refusal, refusal } from "../../learning/telemetry/refusal.ts";
import { rowOf } from "../../learning/telemetry/row-of.ts";
import { OPERATOR_BOUNDS, stepOperatorFactor } from "../../learning/threshold-rules.ts";
import { RobustZScore, Z_THRESHOLD, type ZScoreSnapshot } from "../../learning/z-score.ts";
import type { Episode, ModelKind, Observation } from "./episode.ts";
import { deviations, namedContributors, sharesOf } from "./named-contributors.ts";
import { OwnForest, type OwnForestSnapshot } from "./own-forest.ts";
import { RecentScores } from "./recent-scores.ts";
import { channelsOf, type RowClock, rowTime, stepClock } from "./rows.ts";
import { SeenRows } from "./seen-rows.ts";

/** What is above it is over whatever operators said: no word of theirs silences a device. */
const HIGHEST_PROBABILITY = 0.99;
/** Of a forest: rows that are in every feature beyond all that its trees saw score 0.67 to 0.8. */
const HIGHEST_ISOLATION = 0.65;

/** Structured-clonable. */
export interface DeviceRecord {
  readonly deviceId: DeviceId;
  readonly channels: readonly Channel[];
  readonly kind: ModelKind;
  readonly clock: RowClock | null;
  readonly monitor: DeviceSnapshot | null;
  readonly zScore: ZScoreSnapshot;
  readonly zScores: readonly number[];
  readonly coldAlarm: AlarmState;
  readonly growsForest: boolean;
  /** Each channel's last reading; NaN: none. Records of older versions have none at all. */
  readonly last?: Float64Array;
  /** Null before its first row, and while the champion serves. */
  readonly forest: OwnForestSnapshot | null;
  /** What operators made of the champion's threshold; absent: 1. */
  readonly operatorFactor?: number;
}

/** A row that has entered the device's statistics and waits to be judged. */
export interface EnteredRow {
  readonly device: Device;
  /** As it was read; NaN: the channel is missing, which only some plans allow. */
  readonly row: Float64Array;
  /** The same with each missing channel's last reading, or 0 before its first. */
  readonly filled: Float64Array;
  readonly atMs: number;
  readonly receivedAtMs: number;
  /** Null while commissioning, and without a plan. */
  readonly observed: Observed | null;
  /** Features [rows, featureCount] of the commissioning's rows, told when it ends. */
  readonly commissioned: Float32Array | null;
  /** Channels of the reading that are not the device's. */
  readonly extraChannels: number;
  /** The device's clock was set back before this row. */
  readonly steppedBack: boolean;
  /** What the reading says of itself, 1 = anomaly; null: nothing. */
  readonly label: 0 | 1 | null;
}

export interface Judged {
  /** Null: nothing could be said of the row yet. */
  readonly observation: Observation | null;
  readonly learnable: boolean;
  /** Each channel's deviation from where the detector expects it, in standard deviations; null: it expects nothing yet. */
  readonly z: Float64Array | null;
}

/** Rows are entered and judged in the same order, each once. */
export class Device {
  readonly deviceId: DeviceId;
  #channels: readonly Channel[];
  #names: readonly string[];
  #manifest: Manifest | null = null;
  #monitor: DeviceMonitor | null = null;
  #kind: ModelKind = "z_score";
  #clock: RowClock | null = null;
  #zScore: RobustZScore;
  #zScores = new RecentScores();
  #coldAlarm = initialAlarm;
  #growsForest = false;
  #forest: OwnForest | null = null;
  #mayLack = false;
  #last: Float64Array;
  #seen: SeenRows | null = null;
  #operatorFactor = 1;

  constructor(deviceId: DeviceId, channels: readonly Channel[]) {
    this.deviceId = deviceId;
    this.#channels = channels;
    this.#names = channels.map(({ name }) => name);
    this.#zScore = new RobustZScore(channels.length);
    this.#last = new Float64Array(channels.length).fill(Number.NaN);
  }

  /** A device that no plan describes: its channels are those of its first reading. */
  static coldStart(reading: Reading): Device | Refusal {
    const names = channelsOf(reading);
    if (isRefusal(names)) return names;
    return new Device(
      reading.deviceId,
      names.map((name) => ({ name, unit: reading.units.get(name) ?? "" })),
    );
  }

  /** Throws RangeError when the record does not fit the plan. */
  static restore(record: DeviceRecord, manifest: Manifest | null): Device {
    const device = new Device(record.deviceId, record.channels);
    if (manifest !== null) device.adoptPlan(manifest);
    device.#zScore = RobustZScore.restore(record.zScore, device.#channels.length);
    if (manifest !== null && record.monitor !== null) device.#monitor = DeviceMonitor.restore(manifest, record.monitor);
    device.#kind = record.kind;
    device.#clock = record.clock && { ...record.clock, behind: null }; // what came before says nothing of what comes
    device.#zScores = new RecentScores(record.zScores);
    device.#coldAlarm = record.coldAlarm;
    device.#growsForest = record.growsForest;
    device.#last = record.last?.slice() ?? new Float64Array(record.channels.length).fill(Number.NaN);
    device.#operatorFactor = bounded(record.operatorFactor ?? 1);
    device.forgetSeen(record.clock?.lastAtMs);
    if (record.forest) device.#forest = OwnForest.restore(record.forest, record.deviceId, device.#channels.length);
    return device;
  }

  get kind(): ModelKind {
    return this.#kind;
  }

  /** The best detector that the device's own rows allow for. */
  get ownKind(): ModelKind {
    return this.#forest?.ready ? "isolation_forest" : "z_score";
  }

  get channelNames(): readonly string[] {
    return this.#names;
  }

  /** Null without a plan. */
  get monitor(): DeviceMonitor | null {
    return this.#monitor;
  }

  /** The rows that labels can be said of; null where the plan does not learn from labels. */
  get seen(): SeenRows | null {
    return this.#seen;
  }

  /** `lastAtMs`: of the rows before; none: the device's times begin anew. */
  forgetSeen(lastAtMs: number | null = null): void {
    const labelled = this.#manifest !== null && takesLabels(this.#manifest);
    this.#seen = labelled ? new SeenRows(this.#manifest?.featureCount ?? 0, lastAtMs) : null;
  }

  /** What a false alarm makes of the factor; only a champion's alarms change it. Changes nothing by itself. */
  factorAfterFalseAlarm({ ruleThreshold, score }: Pick<Episode, "ruleThreshold" | "score">): number {
    const factor = this.#operatorFactor;
    return ruleThreshold === null ? factor : stepOperatorFactor(factor, ruleThreshold, { kind: "falseAlarm", score });
  }

  /** Multiplies the threshold that the plan's rule fits, now and after every calibration until there is another plan. */
  get operatorFactor(): number {
    return this.#operatorFactor;
  }

  set operatorFactor(factor: number) {
    this.#operatorFactor = bounded(factor);
  }

  /** What the champion's threshold is with such an operator factor; null: there is none yet. */
  thresholdWith(operatorFactor: number): number | null {
    const ruleThreshold = this.#monitor?.threshold ?? null;
    if (ruleThreshold === null || this.#manifest === null) return null;
    return afterOperators(ruleThreshold, bounded(operatorFactor), this.#manifest);
  }

  /** From here on the device's good rows are kept for a forest. */
  growForest(): void {
    this.#growsForest = true;
  }

  /** Learning begins anew; the device's own detectors go on if its channels stay the same. */
  adoptPlan(manifest: Manifest): void {
    const names = manifest.channels.map(({ name }) => name);
    const sameChannels =
      names.length === this.#names.length && names.every((name, index) => name === this.#names[index]);
    this.#manifest = manifest;
    this.#monitor = new DeviceMonitor(manifest);
    this.#channels = manifest.channels;
    this.#names = names;
    this.#mayLack = mayLackChannels(manifest.features);
    this.#operatorFactor = 1;
    this.forgetSeen(this.#clock?.lastAtMs);
    if (!sameChannels) this.#last = new Float64Array(names.length).fill(Number.NaN);
    if (sameChannels && this.#kind !== "federated") return;
    this.#restartColdStart();
    this.#kind = "z_score";
  }

  /** The detector that serves from the next row on; alarms don't pass from one to the other. */
  serveBy(kind: ModelKind): void {
    if (kind === this.#kind) return;
    if (kind === "federated" || this.#kind === "federated") this.#restartColdStart();
    this.#kind = kind;
    this.#monitor?.resetAlarm();
    this.#forest?.resetAlarm();
  }

  /** The reading's row, whatever its time is; it changes nothing. */
  rowOf(reading: Reading): Float64Array | Refusal {
    return rowOf(reading, this.#names, this.#mayLack);
  }

  /** A row that is refused changes nothing but the memory of late ones. */
  enter(reading: Reading): EnteredRow | Refusal {
    const row = this.rowOf(reading);
    if (isRefusal(row)) return row;
    const atMs = rowTime(this.#clock, reading);
    const { clock, verdict } = stepClock(this.#clock, atMs, reading.receivedAtMs);
    this.#clock = clock;
    if (verdict === "duplicate_timestamp" || verdict === "out_of_order") {
      return refusal(verdict, `time ${new Date(atMs).toISOString()} of ${this.deviceId} is not after its last row's`);
    }
    const steppedBack = verdict === "stepped_back";
    if (steppedBack) this.#resetAlarms();
    const commissioning = this.#monitor !== null && !this.#monitor.commissioned;
    const observed = this.#monitor?.observe(row, atMs) ?? null;
    return {
      device: this,
      row,
      filled: this.#fill(row),
      atMs,
      receivedAtMs: reading.receivedAtMs,
      observed,
      commissioned: commissioning && this.#monitor?.commissioned ? this.#monitor.calibrationFeatures().x : null,
      extraChannels: this.#extraChannels(reading),
      steppedBack,
      label: reading.label,
    };
  }

  #extraChannels({ values }: Reading): number {
    let extra = values.size;
    for (const name of this.#names) if (values.has(name)) extra--;
    return extra;
  }

  /** By the cohort's champion: `score` and the row of `residual` it gave to the features. Needs a threshold. */
  judgeByModel(entered: EnteredRow, modelScore: number, residual: Float32Array): Judged {
    const { row, filled, observed, atMs } = entered;
    const monitor = this.#monitor;
    const ruleThreshold = monitor?.threshold ?? null;
    if (monitor === null || observed === null || ruleThreshold === null || this.#manifest === null) {
      throw new Error(`${this.deviceId} is judged by a model that does not serve it`);
    }
    const threshold = afterOperators(ruleThreshold, this.#operatorFactor, this.#manifest);
    const score = monitor.smooth(modelScore);
    const { over, active, learnable } = monitor.judge({ row, observed, score, threshold, atMs });
    const shown = over || active;
    const shares = shown ? contributors(residual, this.#manifest.residualChannels, this.#channels.length) : [];
    const named = namedContributors(shares, filled, this.#channels, (channel) => monitor.expected(channel));
    const confidence = monitor.confidence(score) ?? 0;
    const missing = this.#missing(row);
    const seen = { atMs, active, over, score, threshold, ruleThreshold, confidence, contributors: named, missing };
    return { observation: seen, learnable, z: deviations(filled, (channel) => monitor.expected(channel)) };
  }

  /**
   * By the z-score or the forest, whichever serves; its alarm also keeps the rows of a calibrated device from being
   * learned. What the forest takes for good is for the z-score to say: what lasts becomes normal to both.
   */
  judgeByOwnRows(entered: EnteredRow): Judged {
    const { filled, atMs } = entered;
    const scored = this.#zScore.score(filled);
    const before = this.#coldAlarm;
    if (scored !== null) this.#coldAlarm = stepAlarm(before, { score: scored.score, threshold: Z_THRESHOLD, atMs });
    const forest = this.#kind === "isolation_forest" ? this.#forest : null;
    const judged = forest === null ? this.#judgeByZScore(entered, scored) : this.#judgeByForest(entered, forest);
    const strange = scored !== null && scored.score > Z_THRESHOLD && recentlyOver(before) > 0;
    if (this.#growsForest && !strange && !this.#coldAlarm.active) {
      this.#forest ??= new OwnForest(this.deviceId, this.#channels.length);
      this.#forest.learn(filled);
    }
    return { ...judged, z: scored?.z ?? null };
  }

  #judgeByForest(entered: EnteredRow, forest: OwnForest): Omit<Judged, "z"> {
    const { row, filled, atMs } = entered;
    const { excess, ...seen } = forest.judge(filled, atMs);
    const learnable = this.#learnBeside(entered, seen.active, excess.score, excess.threshold);
    // Which channels shortened the paths a forest does not tell; how far each is from its mean comes close.
    const shares = seen.over || seen.active ? sharesOf(forest.deviations(filled)) : [];
    const named = namedContributors(shares, filled, this.#channels, (channel) => forest.expected(channel));
    const missing = this.#missing(row);
    return { observation: { atMs, ...seen, ruleThreshold: null, contributors: named, missing }, learnable };
  }

  #judgeByZScore(entered: EnteredRow, scored: ReturnType<RobustZScore["score"]>): Omit<Judged, "z"> {
    const { row, filled, atMs } = entered;
    if (scored === null) {
      this.#zScores = new RecentScores(this.#zScore.ownScores().filter((own) => own <= Z_THRESHOLD));
      return { observation: null, learnable: this.#learn(entered, 0, null) };
    }
    const { score, z } = scored;
    const { active } = this.#coldAlarm;
    const over = score > Z_THRESHOLD;
    const learnable = this.#learnBeside(entered, active, score, Z_THRESHOLD);
    const expected = (channel: number) => this.#zScore.expected(channel) ?? [0, 0];
    const named = over || active ? namedContributors(sharesOf(z), filled, this.#channels, expected) : [];
    const confidence = this.#zScores.percentile(score);
    if (!over) this.#zScores.add(score);
    const missing = this.#missing(row);
    const seen = { atMs, active, over, score, threshold: Z_THRESHOLD, confidence, contributors: named, missing };
    return { observation: { ...seen, ruleThreshold: null }, learnable };
  }

  #missing(row: Float64Array): readonly string[] {
    return this.#mayLack ? this.#names.filter((_, channel) => Number.isNaN(row[channel])) : [];
  }

  record(): DeviceRecord {
    return {
      deviceId: this.deviceId,
      channels: this.#channels,
      kind: this.#kind,
      clock: this.#clock,
      monitor: this.#monitor?.snapshot() ?? null,
      zScore: this.#zScore.snapshot(),
      zScores: this.#zScores.values(),
      coldAlarm: this.#coldAlarm,
      growsForest: this.#growsForest,
      last: this.#last.slice(),
      forest: this.#forest?.snapshot() ?? null,
      operatorFactor: this.#operatorFactor,
    };
  }

  get #calibrated(): boolean {
    return (this.#monitor?.threshold ?? null) !== null;
  }

  /** Until it is calibrated a device is being commissioned: what it does is its normal, load changes included. */
  #learnBeside(entered: EnteredRow, active: boolean, score: number, threshold: number): boolean {
    return this.#calibrated ? !active && this.#learn(entered, score, threshold) : this.#learn(entered, 0, null);
  }

  #learn({ row, observed, atMs }: EnteredRow, score: number, threshold: number | null): boolean {
    if (this.#monitor === null || observed === null) return false;
    return this.#monitor.judge({ row, observed, score, threshold, atMs }).learnable;
  }

  /** A channel's first reading is no event: the device's own detectors begin anew with it. */
  #fill(row: Float64Array): Float64Array {
    const last = this.#last;
    const filled = new Float64Array(row.length);
    let [known, first] = [false, false];
    for (let c = 0; c < row.length; c++) {
      const [before, value] = [Number(last[c]), Number(row[c])];
      known ||= Number.isFinite(before);
      first ||= !Number.isNaN(value) && Number.isNaN(before);
      if (!Number.isNaN(value)) last[c] = value;
      filled[c] = Number.isNaN(Number(last[c])) ? 0 : Number(last[c]);
    }
    if (known && first) this.#restartColdStart();
    return filled;
  }

  #restartColdStart(): void {
    this.#zScore = new RobustZScore(this.#channels.length);
    this.#zScores = new RecentScores();
    this.#coldAlarm = initialAlarm;
    this.#forest = null;
  }

  #resetAlarms(): void {
    this.#monitor?.resetAlarm();
    this.#forest?.resetAlarm();
    this.#coldAlarm = initialAlarm;
  }
}

function afterOperators(ruleThreshold: number, factor: number, manifest: Manifest): number {
  const moved = ruleThreshold * factor;
  const highest = takesLabels(manifest) ? HIGHEST_PROBABILITY : growsTrees(manifest) ? HIGHEST_ISOLATION : null;
  return highest === null ? moved : Math.min(moved, Math.max(ruleThreshold, highest));
}

function bounded(factor: number): number {
  const { min, max } = OPERATOR_BOUNDS;
  return Math.min(max, Math.max(min, factor));
}
