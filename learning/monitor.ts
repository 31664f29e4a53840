// One device watched by a plan's model: its features, its own threshold, its alarm, and which of its rows may be learned.
import { type AlarmState, initialAlarm, recentlyOver, stepAlarm } from "./alarm.ts";
import { FrontEnd, type FrontEndSnapshot } from "./front-end.ts";
import type { Manifest } from "./plan.ts";
import { type RingSnapshot, RowRing } from "./row-ring.ts";
import { percentile } from "./threshold.ts";
import { type DeviceThresholdRule, fitThreshold } from "./threshold-rules.ts";

export interface Judgement {
  /** The score is over the threshold. */
  readonly over: boolean;
  /** An alarm is active after this row. */
  readonly active: boolean;
  /** Neither part of an alarm nor of repeated exceedance: statistics and model may learn from it. */
  readonly learnable: boolean;
}

/** Structured-clonable. */
export interface DeviceSnapshot {
  readonly frontEnd: FrontEndSnapshot;
  readonly alarm: AlarmState;
  readonly calibration: RingSnapshot<Float32Array>;
  /** Ascending; empty until calibrated. */
  readonly calibrationScores: Float32Array;
}

export class DeviceMonitor {
  readonly #rule: DeviceThresholdRule;
  /** Fewer rows come from too few loads: their threshold would make the next load an alarm, and alarms are not learned. */
  readonly #calibrationRows: number;
  readonly #frontEnd: FrontEnd;
  readonly #calibration: RowRing<Float32Array>;
  #alarm = initialAlarm;
  #calibrationScores = new Float32Array(0);
  #threshold: number | null = null;

  constructor(manifest: Manifest) {
    const { rule, rows } = manifest.threshold;
    this.#rule = rule;
    this.#calibrationRows = rows;
    this.#frontEnd = new FrontEnd(manifest);
    this.#calibration = new RowRing(new Float32Array(rows * manifest.featureCount), manifest.featureCount);
  }

  /** Throws RangeError when the snapshot does not fit the manifest. */
  static restore(manifest: Manifest, snapshot: DeviceSnapshot): DeviceMonitor {
    const monitor = new DeviceMonitor(manifest);
    monitor.#frontEnd.adopt(snapshot.frontEnd);
    monitor.#calibration.adopt(snapshot.calibration);
    monitor.#alarm = snapshot.alarm;
    monitor.calibrate(snapshot.calibrationScores);
    return monitor;
  }

  /** Features [featureCount] of a row as seen before it enters; null while commissioning. See FrontEnd.observe. */
  observe(row: Float64Array): Float32Array | null {
    return this.#frontEnd.observe(row);
  }

  /**
   * Once for every row that has features, in order. `threshold` null: no detection, and the row is learned. A learnable
   * row enters the streaming normaliser and the calibration rows.
   */
  judge(input: {
    readonly row: Float64Array;
    readonly features: Float32Array;
    readonly score: number;
    readonly threshold: number | null;
    /** Row time, epoch milliseconds. */
    readonly atMs: number;
  }): Judgement {
    const { row, features, threshold } = input;
    const judgement: Judgement =
      threshold === null
        ? { over: false, active: this.#alarm.active, learnable: true }
        : this.#detect({ score: input.score, threshold, atMs: input.atMs });
    if (judgement.learnable) {
      this.#frontEnd.learn(row);
      this.#calibration.enter(features);
    }
    return judgement;
  }

  /** What the plan's rule fits to the calibration scores; null until calibrated on all the rows the plan asks for. */
  get threshold(): number | null {
    return this.#threshold;
  }

  /** A copy of the last learnable rows' features, `x` [rows, featureCount], in no particular order. */
  calibrationFeatures(): { x: Float32Array; rows: number } {
    return { x: this.#calibration.copy(), rows: this.#calibration.count };
  }

  /** Takes the scores of `calibrationFeatures()` under the weights in use. Throws RangeError for a score that is not finite. */
  calibrate(scores: Float32Array): void {
    if (!scores.every(Number.isFinite)) throw new RangeError("a calibration score is not finite");
    this.#calibrationScores = Float32Array.from(scores).sort();
    this.#threshold = scores.length < this.#calibrationRows ? null : fitThreshold(this.#rule, scores).threshold;
  }

  /** How much of the device's own normal the score reaches, in [0, 1); null until calibrated. */
  confidence(score: number): number | null {
    return this.#threshold === null ? null : percentile(this.#calibrationScores, score);
  }

  /** Puts the streamed normaliser into force; does nothing while commissioning. */
  freeze(): void {
    this.#frontEnd.freeze();
  }

  /** μ ± 3σ of the channel as frozen, in its unit. */
  expected(channelIndex: number): [low: number, high: number] {
    return this.#frontEnd.expected(channelIndex);
  }

  resetAlarm(): void {
    this.#alarm = initialAlarm;
  }

  snapshot(): DeviceSnapshot {
    return {
      frontEnd: this.#frontEnd.snapshot(),
      alarm: this.#alarm,
      calibration: this.#calibration.snapshot(),
      calibrationScores: this.#calibrationScores.slice(),
    };
  }

  #detect(scored: { score: number; threshold: number; atMs: number }): Judgement {
    const over = scored.score > scored.threshold;
    const repeated = over && recentlyOver(this.#alarm) > 0;
    this.#alarm = stepAlarm(this.#alarm, scored);
    const { active } = this.#alarm;
    return { over, active, learnable: !active && !repeated };
  }
}
