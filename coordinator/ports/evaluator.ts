// Scores models of one cohort on its held-out streams.
import type { FleetStatistics } from "../../learning/fleet.ts";
import type { Baselines, Evaluation } from "../core/evaluate.ts";

export interface Evaluator {
  /**
   * Null when the cohort has no held-out stream. The same weights under the same `fleet` always give the same answer.
   * Rejects when `signal` aborts.
   */
  evaluate(weights: Float32Array, fleet: FleetStatistics, signal: AbortSignal): Promise<Evaluation | null>;
  readonly baselines: Baselines | null;
  close(): Promise<void>;
}
