// What can be read back of every version: what it was made from, how it was measured, and its weights.
import type { CohortId, PlanId } from "../../learning/ids.ts";
import type { Confusion } from "../../learning/metrics.ts";
import type { Contribution, GatewayContribution } from "../core/contributions.ts";
import type { ModelItem, Page, RoundItem } from "./fleet-queries.ts";

export interface VersionKey {
  readonly globalVersion: number;
}

export interface EvaluationKey {
  readonly stream: string;
  readonly rowIndex: number;
}

export interface StreamCounts extends Confusion {
  readonly stream: string;
  readonly n: number;
}

/** A version that an operator made has the round, and so on, of the version whose weights it has. */
export interface Lineage {
  readonly model: ModelItem;
  /** With its rule, its evaluation and the baselines; null: the plan's initial weights. */
  readonly round: RoundItem | null;
  /** One an update, at most as many as a round counts; null: not known. */
  readonly contributions: readonly Contribution[] | null;
  readonly gateways: readonly GatewayContribution[] | null;
  /** Null: its evaluated rows are not stored, or no longer. */
  readonly streams: readonly StreamCounts[] | null;
  /** The champions before it, from the one it was made from, back to the cohort's first. */
  readonly parents: Page<ModelItem, VersionKey>;
}

export interface EvaluationItem {
  readonly stream: string;
  readonly rowIndex: number;
  /** 1 = anomaly. */
  readonly prediction: number;
  readonly actual: number;
  readonly correct: boolean;
  readonly score: number;
  readonly threshold: number;
  readonly confidence: number;
  readonly evaluatedAt: string;
}

export interface ModelFile {
  readonly planId: PlanId;
  readonly bundle: Uint8Array;
  readonly weights: Float32Array;
}

export interface HistoryPage<Key> {
  readonly limit: number;
  /** Where the page before ended; null: from the beginning. */
  readonly after: Key | null;
}

/** Each call rejects with UnknownModelError for what is not there, and as FleetQueries do. */
export interface ModelHistory {
  model(cohort: CohortId, version: number): Promise<ModelItem>;
  lineage(cohort: CohortId, version: number, parents: HistoryPage<VersionKey>): Promise<Lineage>;
  /** Stream by stream, in the order of their rows. */
  evaluations(
    cohort: CohortId,
    version: number,
    page: HistoryPage<EvaluationKey>,
  ): Promise<Page<EvaluationItem, EvaluationKey>>;
  /** Null: the weights were dropped from the archive. */
  file(cohort: CohortId, version: number): Promise<ModelFile | null>;
}
