// Scores models of one cohort on its held-out streams.
import type { Baselines, Evaluation } from "../core/evaluate.ts";

export interface Evaluator {
  /** Null when the cohort has no held-out stream. The same weights always give the same answer. Rejects when `signal` aborts. */
  evaluate(weights: Float32Array, signal: AbortSignal): Promise<Evaluation | null>;
  readonly baselines: Baselines | null;
  close(): Promise<void>;
}
