// A cohort with a learner over its plan's real graphs and a real file, as an agent wires them.
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Cohort } from "../../agent/cohort.ts";
import { Lane } from "../../agent/lane.ts";
import { Learner } from "../../agent/learner.ts";
import type { Update } from "../../agent/ports/coordinator-link.ts";
import { noFleet } from "../../learning/fleet.ts";
import { type CohortId, updateId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { testPlan } from "./scripted-coordinator.ts";
import { temporaryFolder } from "./temp.ts";

export async function openLearner(cohortId: CohortId, settings: PlanSettings) {
  const { bytes, planId } = testPlan(settings);
  const bundle = { bytes, ...decodeBundle(bytes, planId) };
  const path = join(temporaryFolder("open-learner"), "agent.sqlite");
  const store = new SqliteStore(path, { nowMs: 0 });
  store.learning.startPlan(cohortId, bundle);
  const record = store.learning.cohort(cohortId);
  if (record === null) throw new Error("the file holds no plan");
  const cohort = new Cohort(cohortId, 0, () => false);
  const updates: Update[] = [];
  const clock = { nowMs: 0 };
  let ids = 0;
  const deps = {
    cohort: cohortId,
    store,
    lane: new Lane(),
    nowMs: () => clock.nowMs,
    newUpdateId: () => updateId(`01${String(++ids).padStart(24, "0")}`),
    devices: () => cohort.devices.values(),
    seed: 1,
    dueRecords: () => [],
    onTrained: (update: Update) => updates.push(update),
    onProblem: (kind: string, what: string) => expect.unreachable(`${kind}: ${what}`),
  };
  const learner = new Learner(deps, await PlanModel.load(bundle), record);
  onTestFinished(async () => {
    await learner.close();
    store.close();
  });
  cohort.learnBy(learner);
  const activate = (globalVersion: number, trained: boolean, weights = bundle.initialWeights) =>
    learner.activate({
      kind: "globalModel",
      cohort: cohortId,
      planId,
      globalVersion,
      weights,
      trained,
      learningRateFactor: null,
      trainWhenInvited: false,
      fleet: noFleet,
    });
  await activate(1, false);
  /** A learner of what the file holds. */
  const reopen = async () => {
    const kept = store.learning.cohort(cohortId);
    if (kept === null) throw new Error("the file holds no plan");
    const again = new Learner(deps, await PlanModel.load(bundle), kept);
    onTestFinished(() => again.close());
    return again;
  };
  return { bundle, path, store, cohort, learner, updates, clock, activate, reopen };
}
