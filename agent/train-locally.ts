// One local training: gradient steps over the new rows from the local weights on.
import type { Manifest } from "../learning/plan.ts";
import type { PlanModel } from "../runtime/plan-model.ts";
import { batches } from "./core/batches.ts";

export interface LocalTraining {
  readonly weights: Float32Array;
  /** Mean over the rows in the first pass, each batch before its own step. */
  readonly loss: number;
  readonly steps: number;
}

/** `x`: `rows` feature rows, row-major. Null when `signal` aborted it. */
export async function trainLocally(
  model: PlanModel,
  manifest: Manifest,
  start: Float32Array,
  data: { readonly x: Float32Array; readonly rows: number },
  { learningRate, signal }: { readonly learningRate: number; readonly signal: AbortSignal },
): Promise<LocalTraining | null> {
  const { batchRows, passes } = manifest.training;
  const { featureCount } = manifest;
  let weights = start;
  let loss = 0;
  let steps = 0;
  for (let pass = 0; pass < passes; pass++) {
    for (const { from, to } of batches(data.rows, batchRows)) {
      if (signal.aborted) return null;
      const batch = data.x.subarray(from * featureCount, to * featureCount);
      const step = await model.train(weights, batch, to - from, learningRate);
      weights = step.weights;
      steps++;
      if (pass === 0) loss += (step.loss * (to - from)) / data.rows;
    }
  }
  return signal.aborted ? null : { weights, loss, steps };
}

export const isUsable = ({ weights, loss }: LocalTraining): boolean =>
  Number.isFinite(loss) && weights.every(Number.isFinite);
