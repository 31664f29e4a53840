// Held-out evaluation: a model meets labelled streams exactly as a gateway would meet them, and its answers are counted.
import { initialAlarm, stepAlarm } from "../../learning/alarm.ts";
import { type DetectedSeries, type DetectionScores, summariseDetection } from "../../learning/detection.ts";
import { DeviceMonitor } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { RobustZScore, Z_THRESHOLD } from "../../learning/z-score.ts";

/** A labelled stream that only the coordinator reads and nobody trains on. */
export interface HeldOutStream {
  readonly stream: string;
  readonly sha256: string;
  /** In the plan's channel order. */
  readonly rows: readonly Float64Array[];
  readonly atMs: readonly number[];
  /** 1 = anomaly. */
  readonly labels: Uint8Array;
}

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

export interface Evaluation {
  readonly scores: DetectionScores;
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
const BLOCK_ROWS = 50;

/** Rows at the head of a stream that commission and calibrate the device, label-free, and are not evaluated. */
export function headRows(manifest: Manifest): number {
  return manifest.commissioningRows + manifest.threshold.rows;
}

export async function evaluateModel(
  manifest: Manifest,
  streams: readonly HeldOutStream[],
  score: ScoreRows,
): Promise<Evaluation | null> {
  let rows: EvaluatedRow[] = [];
  const series: DetectedSeries[] = [];
  let normalLoss = 0;
  for (const stream of streams) {
    const evaluated = await evaluateStream(manifest, stream, score);
    rows = rows.concat(evaluated.rows);
    series.push(detected(stream, evaluated.rows));
    normalLoss += evaluated.normalLoss;
  }
  if (rows.length === 0) return null;
  const normal = rows.reduce((count, row) => count + 1 - row.actual, 0);
  return { scores: summariseDetection(series, normal > 0 ? normalLoss / normal : null), rows };
}

/** Devices have thresholds of their own, so pooled ranking is by score relative to the threshold. */
function detected(stream: HeldOutStream, rows: readonly EvaluatedRow[]): DetectedSeries {
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
  const head = headRows(manifest);
  if (streams.every((stream) => stream.rows.length <= head)) return null;
  const answers = (answer: (stream: HeldOutStream) => DetectedSeries) => summariseDetection(streams.map(answer), null);
  return {
    alwaysNormal: answers((stream) => constant(stream, head, 0)),
    alwaysAlarm: answers((stream) => constant(stream, head, 1)),
    zScore: answers((stream) => zScored(manifest, stream, head)),
  };
}

/** The rows behind the head, all of them given the same answer; a constant score ranks nothing. */
function constant(stream: HeldOutStream, head: number, answer: 0 | 1): DetectedSeries {
  const labels = stream.labels.slice(head);
  const flags = new Uint8Array(labels.length).fill(answer);
  const atMs = stream.atMs.slice(head);
  return { scores: new Float64Array(labels.length), predictions: flags, alarms: flags, labels, atMs };
}

/** As an agent without a model would: the same alarm over the robust z-score. */
function zScored(manifest: Manifest, stream: HeldOutStream, head: number): DetectedSeries {
  const detector = new RobustZScore(manifest.channels.length);
  const series = constant(stream, head, 0);
  const scores = Float64Array.from(stream.rows, (row) => detector.score(row)?.score ?? 0).subarray(head);
  let alarm = initialAlarm;
  const alarms = Uint8Array.from(scores, (score, i) => {
    alarm = stepAlarm(alarm, { score, threshold: Z_THRESHOLD, atMs: series.atMs[i] ?? 0 });
    return alarm.active ? 1 : 0;
  });
  return { ...series, scores, predictions: Uint8Array.from(scores, (z) => (z > Z_THRESHOLD ? 1 : 0)), alarms };
}

async function evaluateStream(manifest: Manifest, stream: HeldOutStream, score: ScoreRows) {
  const monitor = new DeviceMonitor(manifest);
  const head = Math.min(headRows(manifest), stream.rows.length);
  for (let index = 0; index < head; index++) {
    const row = stream.rows[index] as Float64Array;
    const features = monitor.observe(row);
    if (features === null) continue;
    monitor.judge({ row, features, score: 0, threshold: null, atMs: stream.atMs[index] ?? 0 });
  }
  monitor.freeze();
  const calibration = monitor.calibrationFeatures();
  if (calibration.rows > 0) monitor.calibrate((await score(calibration.x, calibration.rows)).scores);

  const rows: EvaluatedRow[] = [];
  let normalLoss = 0;
  for (let from = head; from < stream.rows.length; from += BLOCK_ROWS) {
    const block = await evaluateBlock(manifest, monitor, stream, from, score);
    rows.push(...block.rows);
    normalLoss += block.normalLoss;
    monitor.freeze();
  }
  return { rows, normalLoss };
}

async function evaluateBlock(
  manifest: Manifest,
  monitor: DeviceMonitor,
  stream: HeldOutStream,
  from: number,
  score: ScoreRows,
) {
  const threshold = monitor.threshold;
  const count = Math.min(BLOCK_ROWS, stream.rows.length - from);
  const x = new Float32Array(count * manifest.featureCount);
  const rows: EvaluatedRow[] = [];
  let normalLoss = 0;
  if (threshold === null) return { rows, normalLoss };
  for (let i = 0; i < count; i++) {
    const features = monitor.observe(stream.rows[from + i] as Float64Array);
    if (features !== null) x.set(features, i * manifest.featureCount);
  }
  const { scores, residuals } = await score(x, count);
  const width = residuals.length / count;
  for (let i = 0; i < count; i++) {
    const index = from + i;
    const rowScore = scores[i] as number;
    const judgement = monitor.judge({
      row: stream.rows[index] as Float64Array,
      features: x.subarray(i * manifest.featureCount, (i + 1) * manifest.featureCount),
      score: rowScore,
      threshold,
      atMs: stream.atMs[index] ?? 0,
    });
    const actual = stream.labels[index] === 1 ? 1 : 0;
    if (actual === 0) normalLoss += residuals.subarray(i * width, (i + 1) * width).reduce((a, b) => a + b, 0) / 2;
    rows.push({
      stream: stream.stream,
      rowIndex: index,
      prediction: judgement.over ? 1 : 0,
      actual,
      score: rowScore,
      threshold,
      confidence: monitor.confidence(rowScore) ?? 0,
      alarm: judgement.active ? 1 : 0,
    });
  }
  return { rows, normalLoss };
}
