// One local training: optimiser steps over its rows from the local weights on, or trees that are grown from them.
import { type ForestShape, forestShape, packForest } from "../learning/forest-weights.ts";
import { growTrees } from "../learning/grow-trees.ts";
import type { Manifest } from "../learning/plan.ts";
import { type Random, seededRandom } from "../learning/random.ts";
import {
  initialOptimiserState,
  type PlanModel,
  type TrainingBatch,
  type TrainingPoint,
} from "../runtime/plan-model.ts";
import { batches } from "./core/batches.ts";

export interface LocalTraining {
  /** The local weights after it; a forest's stay as they were. */
  readonly weights: Float32Array;
  /** What the update says: how far they moved, or the trees that were grown. */
  readonly delta: Float32Array;
  /** Mean over the rows in the first pass, each batch before its own step, penalties included; or of the rows' scores. */
  readonly loss: number;
  readonly steps: number;
}

export interface TrainingOptions {
  readonly learningRate: number;
  readonly trainingNumber: number;
  /** Another one on every gateway: trees of two that drew alike would be the same voice twice. */
  readonly gatewaySeed: number;
  readonly signal: AbortSignal;
}

export interface TrainingStart {
  /** Where the steps begin. */
  readonly local: Float32Array;
  /** The champion's weights, which a plan's proximal term holds on to. */
  readonly base: Float32Array;
}

/**
 * The same arguments give the same weights, to the bit. Null when `signal` aborted it, and while there are fewer rows than
 * a tree is grown from.
 */
export function trainLocally(
  model: PlanModel,
  manifest: Manifest,
  start: TrainingStart,
  data: TrainingBatch,
  options: TrainingOptions,
): Promise<LocalTraining | null> {
  const shape = forestShape(manifest);
  return shape === null
    ? train(model, manifest, start, data, options)
    : grow(model, manifest, shape, start, data, options);
}

/**
 * Rows of a "recent_rows" plan are visited in an order of chance, another one in each pass and for each `trainingNumber`;
 * new rows in their own.
 */
async function train(
  model: PlanModel,
  manifest: Manifest,
  start: TrainingStart,
  data: TrainingBatch,
  { learningRate, trainingNumber, signal }: TrainingOptions,
): Promise<LocalTraining | null> {
  const { passes, learnFrom, seed } = manifest.training;
  const random = learnFrom === "recent_rows" ? seededRandom(mixed(seed, trainingNumber)) : null;
  const walked = await descend(model, manifest, start, data, { learningRate, passes, random, moveFrom: 0, signal });
  if (walked === null) return null;
  const { weights, loss, steps } = walked;
  return { weights, delta: weights.map((weight, index) => weight - (start.local[index] ?? 0)), loss, steps };
}

export interface Descent {
  readonly learningRate: number;
  /** Over all rows. */
  readonly passes: number;
  /** Puts the rows in another order in each pass; null: they keep their own. */
  readonly random: Random | null;
  /** Weights before this index stay as they are. */
  readonly moveFrom: number;
  readonly signal: AbortSignal;
}

/** Optimiser steps over the rows, batch by batch; null when `signal` aborted them. */
export async function descend(
  model: PlanModel,
  manifest: Manifest,
  { local, base }: TrainingStart,
  data: TrainingBatch,
  { learningRate, passes, random, moveFrom, signal }: Descent,
): Promise<Omit<LocalTraining, "delta"> | null> {
  const kept = local.subarray(0, moveFrom);
  let at: TrainingPoint = { weights: local, state: initialOptimiserState(manifest) };
  let loss = 0;
  let steps = 0;
  for (let pass = 0; pass < passes; pass++) {
    const rows = random === null ? data : shuffled(data, manifest.featureCount, random);
    for (const range of batches(data.rows, manifest.training.batchRows)) {
      if (signal.aborted) return null;
      const batch = part(rows, manifest.featureCount, range);
      const step = await model.train({ ...at, base }, batch, learningRate);
      step.weights.set(kept);
      at = step;
      steps++;
      if (pass === 0) loss += (step.loss * batch.rows) / data.rows;
    }
  }
  return signal.aborted ? null : { weights: at.weights, loss, steps };
}

/** Bounds the time that a forest takes to score what it was grown from. */
const MAX_SCORED_ROWS = 1_000;

/** All trees are grown anew from all rows: what a forest says does not depend on the ones before it. */
async function grow(
  model: PlanModel,
  manifest: Manifest,
  shape: ForestShape,
  { local }: TrainingStart,
  data: TrainingBatch,
  { gatewaySeed, trainingNumber, signal }: TrainingOptions,
): Promise<LocalTraining | null> {
  if (signal.aborted || data.rows < shape.subsampleRows) return null;
  const random = seededRandom(mixed(mixed(manifest.training.seed, gatewaySeed), trainingNumber));
  const delta = packForest(growTrees(data.x, shape.features, shape, random), shape);
  const seen = evenly(data, shape.features, MAX_SCORED_ROWS);
  const { scores } = await model.score(delta, seen.x, seen.rows);
  const loss = scores.reduce((sum, score) => sum + score / scores.length, 0);
  return signal.aborted ? null : { weights: local, delta, loss, steps: 1 };
}

/** At most `most` of the rows, evenly from the first to the last. */
function evenly({ x, rows }: TrainingBatch, featureCount: number, most: number): Pick<TrainingBatch, "x" | "rows"> {
  const count = Math.min(rows, most);
  const some = new Float32Array(count * featureCount);
  for (let at = 0; at < count; at++) {
    const from = Math.floor((at * rows) / count) * featureCount;
    some.set(x.subarray(from, from + featureCount), at * featureCount);
  }
  return { x: some, rows: count };
}

export const isUsable = ({ weights, delta, loss }: LocalTraining): boolean =>
  Number.isFinite(loss) && weights.every(Number.isFinite) && delta.every(Number.isFinite);

function part(
  { x, y }: TrainingBatch,
  featureCount: number,
  { from, to }: { from: number; to: number },
): TrainingBatch {
  return {
    x: x.subarray(from * featureCount, to * featureCount),
    y: y === null ? null : y.subarray(from, to),
    rows: to - from,
  };
}

/** A copy of the rows, each with its label, in an order of chance. Fisher & Yates, as by Durstenfeld 1964. */
function shuffled({ x, y, rows }: TrainingBatch, featureCount: number, random: Random): TrainingBatch {
  const order = Array.from({ length: rows }, (_, row) => row);
  for (let last = rows - 1; last > 0; last--) {
    const other = Math.floor(random.next() * (last + 1));
    [order[last], order[other]] = [order[other] as number, order[last] as number];
  }
  const copy = new Float32Array(x.length);
  for (const [to, from] of order.entries())
    copy.set(x.subarray(from * featureCount, (from + 1) * featureCount), to * featureCount);
  return { x: copy, y: y === null ? null : Float32Array.from(order, (row) => y[row] as number), rows };
}

/** One seed of two: trainings of one plan differ, and so do plans. */
export const mixed = (seed: number, trainingNumber: number) => (seed ^ Math.imul(trainingNumber + 1, 0x9e3779b9)) >>> 0;
