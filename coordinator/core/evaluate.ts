// Held-out evaluation: a model meets labelled streams exactly as a gateway would meet them, and its answers are counted.
import { type Scores, summarise } from "../../learning/metrics.ts";
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
}

export interface Evaluation {
  readonly scores: Scores;
  readonly rows: readonly EvaluatedRow[];
}

export interface Baselines {
  readonly alwaysNormal: Scores;
  readonly alwaysAlarm: Scores;
  readonly zScore: Scores;
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
  let normalLoss = 0;
  for (const stream of streams) {
    const evaluated = await evaluateStream(manifest, stream, score);
    rows = rows.concat(evaluated.rows);
    normalLoss += evaluated.normalLoss;
  }
  if (rows.length === 0) return null;
  const normal = rows.reduce((count, row) => count + 1 - row.actual, 0);
  return { scores: summariseRows(rows, normal > 0 ? normalLoss / normal : null), rows };
}

/** The answers that cost nothing, on the same rows as the models. */
export function evaluateBaselines(manifest: Manifest, streams: readonly HeldOutStream[]): Baselines | null {
  const zScores: number[] = [];
  const actual: number[] = [];
  for (const stream of streams) {
    const detector = new RobustZScore(manifest.channels.length);
    stream.rows.forEach((row, index) => {
      const scored = detector.score(row);
      if (index < headRows(manifest)) return;
      zScores.push(scored?.score ?? 0);
      actual.push(stream.labels[index] ?? 0);
    });
  }
  if (actual.length === 0) return null;
  const labels = Uint8Array.from(actual);
  const answer = (scores: Float64Array, predictions: Uint8Array) =>
    summarise({ predictions, scores, labels, loss: null });
  const zeros = new Float64Array(labels.length);
  return {
    alwaysNormal: answer(zeros, new Uint8Array(labels.length)),
    alwaysAlarm: answer(zeros, new Uint8Array(labels.length).fill(1)),
    zScore: answer(
      Float64Array.from(zScores),
      Uint8Array.from(zScores, (z) => (z > Z_THRESHOLD ? 1 : 0)),
    ),
  };
}

/** Devices have thresholds of their own, so pooled ranking is by score relative to the threshold. */
function summariseRows(rows: readonly EvaluatedRow[], loss: number | null): Scores {
  return summarise({
    predictions: Uint8Array.from(rows, (row) => row.prediction),
    scores: Float64Array.from(rows, (row) => row.score / row.threshold),
    labels: Uint8Array.from(rows, (row) => row.actual),
    loss,
  });
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
    });
  }
  return { rows, normalLoss };
}
