// The champion's last layers, moved to fit this gateway's own rows: for its scores alone, and only where they are no worse.
import { firstTuned } from "../learning/fine-tuning.ts";
import { takesLabels } from "../learning/models/signature.ts";
import type { Manifest } from "../learning/plan.ts";
import { seededRandom } from "../learning/random.ts";
import type { PlanModel, TrainingBatch } from "../runtime/plan-model.ts";
import type { Device } from "./core/device.ts";
import { joined, labelledOfEach, recentOfEach } from "./core/recent-features.ts";
import { labelledError, MIN_LABELLED_ROWS } from "./core/try-model.ts";
import type { Tuning } from "./ports/agent-store.ts";
import { descend, mixed } from "./train-locally.ts";

/** Bounds the time and memory of a tuning; of every device the newest, in equal shares. */
const MAX_ROWS = 2_000;
/** Of each device the newest fifth is not tuned on: both are tried on it. */
const HELD_BACK = 0.2;
/** On fewer rows a few odd ones would decide. */
const MIN_HELD_BACK_ROWS = 30;

export interface TuningRows {
  readonly tuneOn: TrainingBatch;
  readonly tryOn: TrainingBatch;
}

export interface TuningOptions {
  readonly gatewaySeed: number;
  readonly signal: AbortSignal;
}

/** Null where the plan wants no tuning, and while there are too few rows. */
export function tuningRows(
  manifest: Manifest,
  devices: readonly Pick<Device, "monitor" | "seen">[],
): TuningRows | null {
  if (manifest.fineTuning === undefined) return null;
  return takesLabels(manifest) ? labelledRows(devices) : recentRows(manifest, devices);
}

function recentRows({ featureCount }: Manifest, devices: readonly Pick<Device, "monitor">[]): TuningRows | null {
  const batch = (parts: readonly Float32Array[]): TrainingBatch => {
    const x = joined(parts);
    return { x, y: null, rows: x.length / featureCount };
  };
  const each = recentOfEach(devices, MAX_ROWS).map((x) => {
    const rows = x.length / featureCount;
    const cut = featureCount * (rows - heldBack(rows));
    return { old: x.subarray(0, cut), newest: x.subarray(cut) };
  });
  const tryOn = batch(each.map(({ newest }) => newest));
  return tryOn.rows < MIN_HELD_BACK_ROWS ? null : { tuneOn: batch(each.map(({ old }) => old)), tryOn };
}

function labelledRows(devices: readonly Pick<Device, "seen">[]): TuningRows | null {
  const each = labelledOfEach(devices, MAX_ROWS);
  const batch = (rows: (typeof each)[number]): TrainingBatch => ({
    x: joined(rows.map(({ features }) => features)),
    y: Float32Array.from(rows, ({ label }) => label),
    rows: rows.length,
  });
  const tuneOn = batch(each.flatMap((rows) => rows.slice(heldBack(rows.length))));
  const tryOn = batch(each.flatMap((rows) => rows.slice(0, heldBack(rows.length))));
  return tryOn.rows < MIN_LABELLED_ROWS ? null : { tuneOn, tryOn };
}

const heldBack = (rows: number) => Math.floor(HELD_BACK * rows);

/**
 * Begins at the champion's weights, `base` [P]. The same arguments give the same weights, to the bit. Null when `signal`
 * aborted it.
 */
export async function fineTune(
  model: PlanModel,
  manifest: Manifest,
  { base, globalVersion }: { readonly base: Float32Array; readonly globalVersion: number },
  { tuneOn, tryOn }: TuningRows,
  { gatewaySeed, signal }: TuningOptions,
): Promise<Tuning | null> {
  const { training, fineTuning } = manifest;
  const walked = await descend(model, manifest, { local: base, base }, tuneOn, {
    learningRate: training.learningRate,
    passes: fineTuning?.passes ?? 0,
    random: seededRandom(mixed(mixed(training.seed, gatewaySeed), globalVersion)),
    moveFrom: firstTuned(manifest),
    signal,
  });
  if (walked === null) return null;
  const championError = await errorOf(model, base, tryOn);
  const tunedError = walked.weights.every(Number.isFinite) ? await errorOf(model, walked.weights, tryOn) : Number.NaN;
  if (signal.aborted) return null;
  const better = tunedError <= championError;
  return {
    weights: better ? walked.weights : null,
    rows: tryOn.rows,
    championError,
    tunedError: Number.isFinite(tunedError) ? tunedError : null,
  };
}

/** Mean score of normal rows, or mean distance of probabilities from labels, each label counting the same. */
async function errorOf(model: PlanModel, weights: Float32Array, { x, y, rows }: TrainingBatch): Promise<number> {
  const { scores } = await model.score(weights, x, rows);
  if (y !== null) return labelledError(scores, y);
  return scores.reduce((sum, score) => sum + score, 0) / rows;
}
