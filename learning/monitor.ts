// One device watched by a plan's model: its features, its own threshold, its alarm, and which of its rows may be learned.
import { type AlarmState, initialAlarm, recentlyOver, stepAlarm } from "./alarm.ts";
import { type Excursion, noExcursion, stepExcursion } from "./excursion.ts";
import { type DeviceStatistics, type FleetStatistics, noFleet } from "./fleet.ts";
import { FrontEnd, type FrontEndSnapshot, rowsBeforeColumns } from "./front-end.ts";
import { growsTrees } from "./models/signature.ts";
import type { Manifest } from "./plan.ts";
import { type RingSnapshot, RowRing } from "./row-ring.ts";
import { percentile, quantile } from "./threshold.ts";
import { calibrationScores, fitThreshold } from "./threshold-rules.ts";
import { meanOf, pushTrailing, type TrailingValues } from "./trailing-mean.ts";

export interface Judgement {
  /** The score is over the threshold. */
  readonly over: boolean;
  /** An alarm is active after this row. */
  readonly active: boolean;
  /** Neither part of an alarm nor of repeated exceedance: statistics and model may learn from it. */
  readonly learnable: boolean;
}

/** A row as it entered the device's statistics. */
export interface Observed {
  /** Float32 [featureCount], finite. */
  readonly features: Float32Array;
  /** The same before they were scaled, see FrontEnd.observe. */
  readonly columns: Float32Array;
}

/** Structured-clonable. */
export interface DeviceSnapshot {
  readonly frontEnd: FrontEndSnapshot;
  readonly alarm: AlarmState;
  readonly excursion: Excursion;
  readonly trailing: TrailingValues;
  /** Columns, not features: a scale that the fleet raises holds for them too. */
  readonly calibration: RingSnapshot<Float32Array>;
  /** Ascending; empty until calibrated. */
  readonly calibrationScores: Float32Array;
}

/** Rows of a new device until it can be calibrated, all of which are taken as normal. */
export const rowsToCalibrate = (manifest: Manifest): number =>
  Math.max(manifest.commissioningRows, rowsBeforeColumns(manifest) + manifest.threshold.rows);

/** Scores are told as shares of the threshold, so that of a device whose rows never vary, and score 0, is not quite 0. */
const LEAST_THRESHOLD = 1e-6;

/** Snapshots restore it bit for bit; the scores themselves come from the caller's model. */
export class DeviceMonitor {
  readonly #manifest: Manifest;
  readonly #frontEnd: FrontEnd;
  readonly #calibration: RowRing<Float32Array>;
  #alarm = initialAlarm;
  #excursion: Excursion = noExcursion;
  #trailing: TrailingValues = [];
  #calibrationScores: Float32Array = new Float32Array(0);
  #threshold: number | null = null;
  /** What alarm and excursion tell scores and thresholds from. */
  #zero = 0;
  #fleet = noFleet;

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
    this.#frontEnd = new FrontEnd(manifest);
    const { featureCount, threshold } = manifest;
    this.#calibration = new RowRing(new Float32Array(threshold.rows * featureCount), featureCount);
  }

  /** What the fleet told is to be adopted anew. Throws RangeError when the snapshot does not fit the manifest. */
  static restore(manifest: Manifest, snapshot: DeviceSnapshot): DeviceMonitor {
    const monitor = new DeviceMonitor(manifest);
    monitor.#frontEnd.adopt(snapshot.frontEnd);
    monitor.#calibration.adopt(snapshot.calibration);
    monitor.#alarm = snapshot.alarm;
    monitor.#excursion = snapshot.excursion;
    monitor.#trailing = snapshot.trailing;
    monitor.#calibrationScores = snapshot.calibrationScores;
    monitor.#fitThreshold();
    return monitor;
  }

  /**
   * The row (length = channels) as seen among those before it, at row time `atMs`; null while commissioning, whose rows
   * `calibrationFeatures` gives at its end. Throws RangeError, changing nothing, as FrontEnd.observe does.
   */
  observe(row: Float64Array, atMs: number): Observed | null {
    const commissioning = !this.#frontEnd.commissioned;
    const columns = this.#frontEnd.observe(row, atMs);
    if (columns === null) return null;
    if (!commissioning) return { columns, features: this.#frontEnd.features(columns) };
    this.#calibration.enter(columns);
    return null;
  }

  /** Whether features, and so a judgement, are to be had from the next row on. */
  get commissioned(): boolean {
    return this.#frontEnd.commissioned;
  }

  /**
   * Once for every row that `observe` gave something for, in order. `threshold` null: no detection, and the row is
   * learned. `score` is what is judged, see `smooth`. A learnable row enters the reference and the calibration rows.
   */
  judge(input: {
    readonly row: Float64Array;
    readonly observed: Observed;
    readonly score: number;
    readonly threshold: number | null;
    /** Row time, epoch milliseconds. */
    readonly atMs: number;
  }): Judgement {
    const { row, observed, threshold, score, atMs } = input;
    const judgement: Judgement =
      threshold === null
        ? { over: false, active: this.#alarm.active, learnable: true }
        : this.#detect({
            score: Math.max(0, score - this.#zero),
            threshold: Math.max(LEAST_THRESHOLD, threshold - this.#zero),
            atMs,
          });
    if (threshold === null) this.#frontEnd.accept();
    if (judgement.learnable) {
      this.#frontEnd.learn(row, atMs);
      this.#calibration.enter(observed.columns);
    }
    return judgement;
  }

  /** The score that is judged, from the model's score of the row: once for every row the model scores, in order. */
  smooth(score: number): number {
    this.#trailing = pushTrailing(this.#trailing, score, this.#manifest.score.trailingRows);
    return meanOf(this.#trailing);
  }

  /** What the plan's rule fits to the calibration scores; null until calibrated on all the rows the plan asks for. */
  get threshold(): number | null {
    return this.#threshold;
  }

  /** It has all the calibration rows the plan asks for, and was not calibrated on as many yet. */
  get awaitsCalibration(): boolean {
    const { commissioned } = this.#frontEnd;
    return commissioned && !this.#hasEnoughScores && this.#calibration.count >= this.#manifest.threshold.rows;
  }

  /** Features of the last learnable rows, at most `most`, `x` [rows, featureCount], oldest first; none while commissioning. */
  calibrationFeatures(most = Number.POSITIVE_INFINITY): { x: Float32Array; rows: number } {
    const { count, columns } = this.#calibration;
    const rows = this.#frontEnd.commissioned ? Math.min(count, most) : 0;
    const x = new Float32Array(rows * columns);
    let at = 0;
    for (const row of this.#calibration.rows(rows)) x.set(this.#frontEnd.features(row), columns * at++);
    return { x, rows };
  }

  /** Takes the model's scores of `calibrationFeatures()`. Throws RangeError for a score that is not finite. */
  calibrate(scores: Float32Array): void {
    if (!scores.every(Number.isFinite)) throw new RangeError("a calibration score is not finite");
    this.#calibrationScores = this.#smoothed(scores).sort();
    this.#fitThreshold();
  }

  /** How much of the device's own normal the score reaches, in [0, 1); null until calibrated. */
  confidence(score: number): number | null {
    return this.#threshold === null ? null : percentile(this.#calibrationScores, score);
  }

  /** What it has to tell its fleet; null until calibrated. */
  statistics(): DeviceStatistics | null {
    if (this.#threshold === null) return null;
    return { scales: this.#frontEnd.ownScales(), scores: this.#calibrationScores };
  }

  /** Other scales change the features: `calibrate` anew after them. */
  adoptFleet(fleet: FleetStatistics): void {
    this.#fleet = fleet;
    this.#frontEnd.adoptFleetScales(fleet.scales);
    this.#fitThreshold();
  }

  /** Puts what was learned into force; does nothing while commissioning. */
  freeze(): void {
    this.#frontEnd.freeze();
  }

  /** Where a single reading of the channel usually is, in its unit. */
  expected(channelIndex: number): [low: number, high: number] {
    return this.#frontEnd.expected(channelIndex);
  }

  resetAlarm(): void {
    this.#alarm = initialAlarm;
    this.#excursion = noExcursion;
    this.#trailing = [];
  }

  snapshot(): DeviceSnapshot {
    return {
      frontEnd: this.#frontEnd.snapshot(),
      alarm: this.#alarm,
      excursion: this.#excursion,
      trailing: this.#trailing,
      calibration: this.#calibration.snapshot(),
      calibrationScores: this.#calibrationScores.slice(),
    };
  }

  #detect(scored: { score: number; threshold: number; atMs: number }): Judgement {
    const { alarm } = this.#manifest;
    const over = this.#counts(scored);
    const repeated = over && recentlyOver(this.#alarm) > 0;
    this.#alarm = stepAlarm(this.#alarm, { ...scored, over }, alarm);
    const { active } = this.#alarm;
    const learnable = alarm.kind === "onset" ? !over : !active && !repeated;
    return { over, active, learnable };
  }

  /** Whether the row counts as anomalous; what it says of the device's way out of normal goes to the reference. */
  #counts({ score, threshold, atMs }: { score: number; threshold: number; atMs: number }): boolean {
    const { excursion } = this.#manifest;
    if (excursion === null) {
      this.#frontEnd.settle(null, score > threshold);
      return score > threshold;
    }
    const { state, over, turn } = stepExcursion(excursion, this.#excursion, { ratio: score / threshold, atMs });
    this.#excursion = state;
    if (turn === "released") this.#trailing = [];
    this.#frontEnd.settle(turn, state.sinceMs !== null);
    return over;
  }

  /** Trailing means over as many rows as a row is judged by: the first rows, which lack some, give none. */
  #smoothed(scores: Float32Array): Float32Array {
    const { trailingRows } = this.#manifest.score;
    const means = new Float32Array(calibrationScores(scores.length, trailingRows));
    let trailing: TrailingValues = [];
    for (const [index, score] of scores.entries()) {
      trailing = pushTrailing(trailing, score, trailingRows);
      if (index >= trailingRows - 1) means[index - trailingRows + 1] = meanOf(trailing);
    }
    return means;
  }

  /** On fewer rows than the plan asks for, which come from too few loads, the next load would be an alarm. */
  get #hasEnoughScores(): boolean {
    return (
      this.#calibrationScores.length >=
      calibrationScores(this.#manifest.threshold.rows, this.#manifest.score.trailingRows)
    );
  }

  #fitThreshold(): void {
    const { rule } = this.#manifest.threshold;
    const threshold = this.#hasEnoughScores
      ? fitThreshold(rule, this.#calibrationScores, this.#fleet.thresholdFactor).threshold
      : null;
    this.#threshold = threshold === null ? null : Math.max(threshold, LEAST_THRESHOLD);
    // An isolation score has no zero of its own: rows that are nothing special have 0.4 or so.
    this.#zero = growsTrees(this.#manifest) && threshold !== null ? quantile(this.#calibrationScores, 0.5) : 0;
  }
}
