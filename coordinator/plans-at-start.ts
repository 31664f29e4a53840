// The plan files that a coordinator is started with: cohorts are defined by them, and plans that they moved to are tried.
import type { CohortId } from "../learning/ids.ts";
import type { FederationSettings } from "../learning/plan.ts";
import type { Logger } from "../runtime/log.ts";
import type { DryRunOrder, DryRuns } from "./ports/dry-runs.ts";
import {
  type ActivationOrder,
  type FederationStore,
  LEAVE_AFTER_MS,
  type PlanDefinition,
} from "./ports/federation-store.ts";

/** What operators have activated since stays, whatever file the coordinator is started with again. */
const AT_START: ActivationOrder = {
  actor: "coordinator",
  reason: "the plan file it was started with",
  leaveAfterMs: LEAVE_AFTER_MS,
  dryRun: "at_start",
  again: false,
};

interface CohortDefinition {
  readonly cohort: CohortId;
  readonly plan: PlanDefinition;
  readonly federation: FederationSettings;
}

/** A cohort that left another plan for this one. */
type Moved = Omit<DryRunOrder, "actor">;

export async function defineAtStart(
  store: Pick<FederationStore, "loadPlans" | "defineCohort">,
  definitions: readonly CohortDefinition[],
  log: Logger,
): Promise<Moved[]> {
  const moved: Moved[] = [];
  for (const { cohort, plan, federation } of definitions) {
    const before = (await store.loadPlans(cohort)).find(({ state }) => state === "active")?.planId ?? plan.planId;
    const active = await store.defineCohort(cohort, plan, federation, AT_START);
    if (active !== before) moved.push({ cohort, planId: active });
    if (active === plan.planId) continue;
    const facts = { cohort, planId: plan.planId, active };
    log.warn(facts, "the cohort has left the plan of this file before; activate it to go back");
  }
  return moved;
}

/** One after the other, until `signal` aborts. Never rejects. */
export async function tryAtStart(
  dryRuns: Pick<DryRuns, "run">,
  moved: readonly Moved[],
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (const order of moved) {
    if (signal.aborted) return;
    try {
      const { passed, failures, dryRunId } = await dryRuns.run({ ...order, actor: "coordinator" }, signal);
      const facts = { ...order, dryRunId, failures };
      if (passed) log.info(facts, "the plan that the cohort was started with passed its dry run");
      else log.warn(facts, "the plan that the cohort was started with failed its dry run; it is in force all the same");
    } catch (error) {
      if (!signal.aborted)
        log.warn({ ...order, err: error }, "the plan that the cohort was started with was not tried");
    }
  }
}
