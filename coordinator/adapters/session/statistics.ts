// What a report tells of a gateway's devices together; what can't count is refused with its reason, and the rest stands.
import type { CohortStatistics } from "../../../proto/gen/flead/v1/federation.ts";
import { checkStatistics } from "../../core/check-statistics.ts";
import type { ReportedStatistics } from "../../ports/gateway-store.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { MAX_COHORTS, planOf } from "./held-cohorts.ts";

/** The last of a cohort counts; what the gateway said of it in earlier reports stays where it is refused. */
export function reportedStatistics(
  deps: Pick<SessionDeps, "cohorts" | "problems">,
  { gatewayId, cohorts }: Gateway,
  messages: readonly CohortStatistics[],
): ReportedStatistics[] {
  const told = new Map<string, ReportedStatistics>();
  for (const message of messages.slice(0, MAX_COHORTS)) {
    const where = `gateway ${gatewayId} cohort ${message.cohort.slice(0, 64)}`;
    const refuse = (reason: string, what: string) =>
      deps.problems.report("statistics_refused", where, `${reason}: ${what}`);
    const cohort = cohorts.has(message.cohort) ? planOf(deps.cohorts, message) : undefined;
    if (cohort === undefined) {
      refuse("unknown_cohort", "it is no cohort that this gateway said hello for");
      continue;
    }
    const globalVersion = Number(message.globalVersion);
    const checked = checkStatistics({ ...message, globalVersion }, cohort);
    if ("reason" in checked) refuse(checked.reason, checked.message);
    else told.set(message.cohort, { ...checked, cohort: cohort.cohort, planId: cohort.planId, globalVersion });
  }
  return [...told.values()];
}
