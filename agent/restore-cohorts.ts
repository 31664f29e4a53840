// What an earlier run kept of the gateway's cohorts: their plans, models and devices.
import { PlanModel } from "../runtime/plan-model.ts";
import type { Cohort } from "./cohort.ts";
import { type CohortRule, cohortOf } from "./core/cohorts.ts";
import type { Learner } from "./learner.ts";
import type { CohortRecord, LearningStore } from "./ports/agent-store.ts";

export interface RestoreDeps {
  readonly cohorts: Iterable<Cohort>;
  readonly rules: readonly CohortRule[];
  readonly store: LearningStore;
  readonly newLearner: (cohort: Cohort, model: PlanModel, record: CohortRecord) => Learner;
  readonly onDamaged: (where: string, what: string) => void;
}

/** What can't be used any more begins anew, and `onDamaged` hears of it. */
export async function restoreCohorts({ cohorts, rules, store, newLearner, onDamaged }: RestoreDeps): Promise<void> {
  for (const cohort of cohorts) {
    const learner = await restoreLearner(cohort, store, newLearner).catch((error: Error) => {
      onDamaged(cohort.cohort, `the plan kept can't be used: ${error.message}`);
      return null;
    });
    const mine = store.devices(cohort.cohort).filter(({ deviceId }) => cohortOf(deviceId, rules) === cohort.cohort);
    cohort.restore(learner, mine, (device) =>
      onDamaged(device, "what was kept of the device does not fit its plan; it begins anew"),
    );
    await learner?.recalibrate();
  }
}

async function restoreLearner(
  cohort: Cohort,
  store: LearningStore,
  newLearner: RestoreDeps["newLearner"],
): Promise<Learner | null> {
  const record = store.cohort(cohort.cohort);
  return record === null ? null : newLearner(cohort, await PlanModel.load(record.plan), record);
}
