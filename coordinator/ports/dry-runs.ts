// Dry runs of plans on a cohort's held-out streams, and what they said.
import type { CohortId, PlanId } from "../../learning/ids.ts";
import type { DryRunReport } from "../core/dry-run.ts";
import { ModelError } from "./model-actions.ts";

export interface DryRun extends DryRunReport {
  readonly dryRunId: number;
  readonly planId: string;
  readonly cohort: string;
  /** Of the frozen streams that it was on; null: the cohort had none, and nothing was evaluated. */
  readonly set: string | null;
  readonly actor: string;
  readonly createdAt: string;
}

export interface DryRunOrder {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly actor: string;
}

/** Every method rejects with FleetUnavailableError when the store does not answer. */
export interface DryRuns {
  /**
   * Tries the plan and keeps what came of it; the cohort, if there is one, goes on as it does. At most one at a time. Of a
   * plan and cohort the last 20 are kept. Rejects with DryRunBusyError, UnknownPlanError or UnusablePlanError, and soon
   * after `signal` aborts, keeping nothing.
   */
  run(order: DryRunOrder, signal: AbortSignal): Promise<DryRun>;
  /** Of the plan, the newest first. */
  ofPlan(plan: PlanId): Promise<DryRun[]>;
  /** Null: there is none, or none any more. */
  one(plan: PlanId, dryRunId: number): Promise<DryRun | null>;
  /** The newest on the cohort's frozen streams as they are now; null: there is none. */
  standing(order: Pick<DryRunOrder, "cohort" | "planId">): Promise<DryRun | null>;
}

export class DryRunBusyError extends ModelError {
  constructor() {
    super("a dry run is running on this coordinator; ask again when it is done");
    this.name = "DryRunBusyError";
  }
}

export class NotTriedError extends ModelError {
  constructor(cohort: string, planId: string, last: DryRun | null) {
    const [failure] = last?.failures ?? [];
    const why = failure
      ? `failed its last dry run for cohort ${cohort}: ${failure.fault}, ${failure.detail}`
      : `has no dry run for cohort ${cohort} on its held-out streams as they are now`;
    super(
      `plan ${planId} ${why}. Run \`flead plan dry-run\` with its file, or POST /api/v1/plans/${planId}/dry-run; to activate it all the same, say --force, or "force": true`,
    );
    this.name = "NotTriedError";
  }
}
