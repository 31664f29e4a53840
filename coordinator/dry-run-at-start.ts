// Plans that cohorts were moved to by the files that the coordinator was started with: tried afterwards, and told in the log.
import type { Logger } from "../runtime/log.ts";
import type { DryRunOrder, DryRuns } from "./ports/dry-runs.ts";

/** One after the other, until `signal` aborts. Never rejects. */
export async function tryAtStart(
  dryRuns: Pick<DryRuns, "run">,
  moved: readonly Omit<DryRunOrder, "actor">[],
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
