// One local training: optimiser steps over its rows from the local weights on.
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
  readonly weights: Float32Array;
  /** Mean over the rows in the first pass, each batch before its own step; penalties included. */
  readonly loss: number;
  readonly steps: number;
}

export interface TrainingStart {
  /** Where the steps begin. */
  readonly local: Float32Array;
  /** The champion's weights, which a plan's proximal term holds on to. */
  readonly base: Float32Array;
}

/**
 * The same arguments give the same weights, to the bit. Rows of a "recent_rows" plan are visited in an order of chance,
 * another one in each pass and for each `trainingNumber`; new rows in their own. Null when `signal` aborted it.
 */
export async function trainLocally(
  model: PlanModel,
  manifest: Manifest,
  { local, base }: TrainingStart,
  data: TrainingBatch,
  options: { readonly learningRate: number; readonly trainingNumber: number; readonly signal: AbortSignal },
): Promise<LocalTraining | null> {
  const { batchRows, passes, learnFrom, seed } = manifest.training;
  const random = learnFrom === "recent_rows" ? seededRandom(mixed(seed, options.trainingNumber)) : null;
  let at: TrainingPoint = { weights: local, state: initialOptimiserState(manifest) };
  let loss = 0;
  let steps = 0;
  for (let pass = 0; pass < passes; pass++) {
    const rows = random === null ? data : shuffled(data, manifest.featureCount, random);
    for (const range of batches(data.rows, batchRows)) {
      if (options.signal.aborted) return null;
      const batch = part(rows, manifest.featureCount, range);
      const step = await model.train({ ...at, base }, batch, options.learningRate);
      at = step;
      steps++;
      if (pass === 0) loss += (step.loss * batch.rows) / data.rows;
    }
  }
  return options.signal.aborted ? null : { weights: at.weights, loss, steps };
}

export const isUsable = ({ weights, loss }: LocalTraining): boolean =>
  Number.isFinite(loss) && weights.every(Number.isFinite);

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
const mixed = (seed: number, trainingNumber: number) => (seed ^ Math.imul(trainingNumber + 1, 0x9e3779b9)) >>> 0;
