// Held-out evaluation: a model meets labelled streams exactly as a gateway would meet them, and its answers are counted.
import { initialAlarm, stepAlarm } from "../../learning/alarm.ts";
import { type DetectedSeries, type DetectionScores, summariseDetection } from "../../learning/detection.ts";
import type { FleetStatistics } from "../../learning/fleet.ts";
import { growsTrees } from "../../learning/models/signature.ts";
import { DeviceMonitor, type Observed, rowsToCalibrate } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { RobustZScore, Z_THRESHOLD } from "../../learning/z-score.ts";
import { frozenSet, type StreamRevision } from "./held-out.ts";

/** A labelled stream that only the coordinator reads and nobody trains on. */
export interface HeldOutStream extends StreamRevision {
  /** In the plan's channel order; NaN: the channel is missing, which only some plans allow. */
  readonly rows: readonly Float64Array[];
  readonly atMs: readonly number[];
  /** 1 = anomaly; UNLABELLED: nobody said, so the device meets the row and its answer is not counted. */
  readonly labels: Uint8Array;
  /** It goes on while rounds come. */
  readonly live?: true;
}

export const UNLABELLED = 2;

export interface EvaluatedRow {
  readonly stream: string;
  readonly rowIndex: number;
  readonly prediction: 0 | 1;
  readonly actual: 0 | 1;
  readonly score: number;
  readonly threshold: number;
  readonly confidence: number;
  /** An alarm is active after the row. */
  readonly alarm: 0 | 1;
}

export interface StreamScores extends StreamRevision {
  readonly scores: DetectionScores;
}

export interface Evaluation {
  /** All streams pooled. */
  readonly scores: DetectionScores;
  /** Of each stream that has evaluated rows. */
  readonly streams: readonly StreamScores[];
  /** The frozen streams pooled; null: none has evaluated rows. */
  readonly frozen: DetectionScores | null;
  /** Which frozen streams it was measured on: quality over time is compared only where it is the same. */
  readonly set: string;
  readonly rows: readonly EvaluatedRow[];
}

export interface Baselines {
  readonly alwaysNormal: DetectionScores;
  readonly alwaysAlarm: DetectionScores;
  readonly zScore: DetectionScores;
}

/** Scores `rows` feature rows with the weights under evaluation. */
export type ScoreRows = (x: Float32Array, rows: number) => Promise<{ scores: Float32Array; residuals: Float32Array }>;

/** A gateway freezes its normaliser at every training step; so does the evaluation, every so many rows. */
const FREEZE_ROWS = 50;

/**
 * Every stream is met by a device of its own, row after row: its head commissions and calibrates the device, label-free,
 * and is not evaluated. All streams advance together, so that one run scores a row of each. Null: no stream is longer
 * than its head.
 */
export async function evaluateModel(
  manifest: Manifest,
  streams: readonly HeldOutStream[],
  score: ScoreRows,
  fleet: FleetStatistics,
): Promise<Evaluation | null> {
  const devices: WatchedStream[] = [];
  for (const stream of streams) devices.push(await calibrated(manifest, stream, score, fleet));
  const longest = Math.max(0, ...streams.map(({ rows }) => rows.length));
  for (let index = rowsToCalibrate(manifest); index < longest; index++) {
    const here = devices.filter(({ stream }) => index < stream.rows.length);
    await evaluateRow(manifest, here, index, score);
  }
  return evaluationOf(devices.filter((device) => device.rows.length > 0));
}

function evaluationOf(devices: readonly WatchedStream[]): Evaluation | null {
  if (devices.length === 0) return null;
  const frozen = devices.filter(({ stream }) => !stream.live);
  const scores = pooledScores(devices);
  const frozenScores = frozen.length === devices.length ? scores : frozen.length > 0 ? pooledScores(frozen) : null;
  return {
    scores,
    streams: devices.map((device) => ({
      stream: device.stream.stream,
      sha256: device.stream.sha256,
      scores: devices.length === 1 ? scores : pooledScores([device]),
    })),
    frozen: frozenScores,
    set: frozenSet(frozen.map(({ stream }) => stream)),
    rows: devices.flatMap((device) => device.rows),
  };
}

/** Of the rows that were evaluated by now. */
export function pooledScores(devices: readonly WatchedStream[]): DetectionScores {
  const series = devices.map((device) => detected(device.stream, device.rows));
  const normal = devices.flatMap(({ rows }) => rows).reduce((count, row) => count + 1 - row.actual, 0);
  const normalLoss = devices.reduce((sum, device) => sum + device.normalLoss, 0);
  return summariseDetection(series, normal > 0 ? normalLoss / normal : null);
}

export interface WatchedStream {
  readonly stream: HeldOutStream;
  readonly monitor: DeviceMonitor;
  readonly rows: EvaluatedRow[];
  /** Sum over its normal rows: of half the sum of squared residuals; of a forest, which has no error, of the score. */
  normalLoss: number;
}

/** The device of a stream after its head, which commissions it, label-free: all it does there is taken as normal. */
export function deviceAfterHead(
  manifest: Manifest,
  stream: Pick<HeldOutStream, "rows" | "atMs">,
  fleet: FleetStatistics,
): DeviceMonitor {
  const monitor = new DeviceMonitor(manifest);
  monitor.adoptFleet(fleet);
  for (const [index, row] of stream.rows.slice(0, rowsToCalibrate(manifest)).entries()) {
    const atMs = stream.atMs[index] ?? 0;
    const observed = monitor.observe(row, atMs);
    if (observed !== null) monitor.judge({ row, observed, score: 0, threshold: null, atMs });
  }
  monitor.freeze();
  return monitor;
}

async function calibrated(
  manifest: Manifest,
  stream: HeldOutStream,
  score: ScoreRows,
  fleet: FleetStatistics,
): Promise<WatchedStream> {
  const monitor = deviceAfterHead(manifest, stream, fleet);
  const calibration = monitor.calibrationFeatures();
  if (calibration.rows > 0) monitor.calibrate((await score(calibration.x, calibration.rows)).scores);
  return { stream, monitor, rows: [], normalLoss: 0 };
}

async function evaluateRow(
  manifest: Manifest,
  devices: readonly WatchedStream[],
  index: number,
  score: ScoreRows,
): Promise<void> {
  const observed = devices.map(({ stream, monitor }) =>
    monitor.observe(stream.rows[index] as Float64Array, stream.atMs[index] ?? 0),
  );
  const x = new Float32Array(devices.length * manifest.featureCount);
  for (const [i, row] of observed.entries()) if (row !== null) x.set(row.features, i * manifest.featureCount);
  const { scores, residuals } = await score(x, devices.length);
  const columns = manifest.residualChannels.length;
  for (const [i, device] of devices.entries()) {
    const row = observed[i];
    const residual = residuals.subarray(i * columns, (i + 1) * columns);
    if (row) {
      const score = Number(scores[i]);
      const loss = growsTrees(manifest) ? score : residual.reduce((sum, square) => sum + square, 0) / 2;
      judgeRow(device, index, row, { score, loss });
    }
    if ((index + 1) % FREEZE_ROWS === 0) device.monitor.freeze();
  }
}

function judgeRow(
  device: WatchedStream,
  index: number,
  observed: Observed,
  scored: { readonly score: number; readonly loss: number },
): void {
  const { stream, monitor } = device;
  const { threshold } = monitor;
  if (threshold === null) return;
  const score = monitor.smooth(scored.score);
  const row = stream.rows[index] as Float64Array;
  const judgement = monitor.judge({ row, observed, score, threshold, atMs: stream.atMs[index] ?? 0 });
  if (stream.labels[index] === UNLABELLED) return;
  const actual = stream.labels[index] === 1 ? 1 : 0;
  if (actual === 0) device.normalLoss += scored.loss;
  device.rows.push({
    stream: stream.stream,
    rowIndex: index,
    prediction: judgement.over ? 1 : 0,
    actual,
    score,
    threshold,
    confidence: monitor.confidence(score) ?? 0,
    alarm: judgement.active ? 1 : 0,
  });
}

/** Devices have thresholds of their own, so pooled ranking is by score relative to the threshold. */
export function detected(stream: HeldOutStream, rows: readonly EvaluatedRow[]): DetectedSeries {
  return {
    scores: Float64Array.from(rows, (row) => row.score / row.threshold),
    predictions: Uint8Array.from(rows, (row) => row.prediction),
    alarms: Uint8Array.from(rows, (row) => row.alarm),
    labels: Uint8Array.from(rows, (row) => row.actual),
    atMs: rows.map((row) => stream.atMs[row.rowIndex] ?? 0),
  };
}

/** The answers that cost nothing, on the same rows as the models. */
export function evaluateBaselines(manifest: Manifest, streams: readonly HeldOutStream[]): Baselines | null {
  const head = rowsToCalibrate(manifest);
  if (streams.every((stream) => stream.rows.length <= head)) return null;
  const answers = (answer: (stream: HeldOutStream) => DetectedSeries) =>
    summariseDetection(
      streams.map((stream) => labelledOf(answer(stream))),
      null,
    );
  return {
    alwaysNormal: answers((stream) => constant(stream, head, 0)),
    alwaysAlarm: answers((stream) => constant(stream, head, 1)),
    zScore: answers((stream) => zScored(manifest, stream, head)),
  };
}

function labelledOf(series: DetectedSeries): DetectedSeries {
  const isLabelled = (_: unknown, index: number) => series.labels[index] !== UNLABELLED;
  return {
    scores: series.scores.filter(isLabelled),
    predictions: series.predictions.filter(isLabelled),
    alarms: series.alarms.filter(isLabelled),
    labels: series.labels.filter(isLabelled),
    atMs: series.atMs.filter(isLabelled),
  };
}

/** The rows behind the head, all of them given the same answer; a constant score ranks nothing. */
function constant(stream: HeldOutStream, head: number, answer: 0 | 1): DetectedSeries {
  const labels = stream.labels.slice(head);
  const flags = new Uint8Array(labels.length).fill(answer);
  const atMs = stream.atMs.slice(head);
  return { scores: new Float64Array(labels.length), predictions: flags, alarms: flags, labels, atMs };
}

/** A missing channel keeps its last value, 0 before its first. */
function filled(rows: readonly Float64Array[]): Float64Array[] {
  let last = new Float64Array(rows[0]?.length ?? 0);
  return rows.map((row) => {
    last = row.map((value, channel) => (Number.isNaN(value) ? Number(last[channel]) : value));
    return last;
  });
}

/** As an agent without a model would: the same alarm over the robust z-score. */
function zScored(manifest: Manifest, stream: HeldOutStream, head: number): DetectedSeries {
  const detector = new RobustZScore(manifest.channels.length);
  const series = constant(stream, head, 0);
  const scores = Float64Array.from(filled(stream.rows), (row) => detector.score(row)?.score ?? 0).subarray(head);
  let alarm = initialAlarm;
  const alarms = Uint8Array.from(scores, (score, i) => {
    alarm = stepAlarm(alarm, { score, threshold: Z_THRESHOLD, atMs: series.atMs[i] ?? 0 });
    return alarm.active ? 1 : 0;
  });
  return { ...series, scores, predictions: Uint8Array.from(scores, (z) => (z > Z_THRESHOLD ? 1 : 0)), alarms };
}
