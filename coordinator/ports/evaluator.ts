// Scores models of one cohort on its held-out streams.
import type { FleetStatistics } from "../../learning/fleet.ts";
import type { Baselines, Evaluation, StreamScores } from "../core/evaluate.ts";

export interface MeasuredStream extends StreamScores {
  readonly baselines: Baselines | null;
}

export interface HeldOutEvaluation extends Evaluation {
  readonly streams: readonly MeasuredStream[];
}

/** On one set of streams, so that what it says of two models can be compared. */
export interface Evaluator {
  /**
   * Null when no stream is longer than its head. The same weights under the same `fleet` always give the same answer.
   * Rejects when `signal` aborts.
   */
  evaluate(weights: Float32Array, fleet: FleetStatistics, signal: AbortSignal): Promise<HeldOutEvaluation | null>;
  readonly baselines: Baselines | null;
}

/** Of one plan. */
export interface Evaluators {
  /** On the cohort's streams as they are now. */
  now(): Promise<Evaluator>;
  close(): Promise<void>;
}
