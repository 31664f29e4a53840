// Who leads: one cohort's fault is not the others'.
import { expect, test } from "vitest";
import { CohortDirectory } from "../../coordinator/cohort-directory.ts";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import { Leader } from "../../coordinator/leader.ts";
import { cohortId } from "../../learning/ids.ts";
import { createLogger } from "../../runtime/log.ts";
import { cohortState } from "../support/cohort-state.ts";
import { storeOfRounds, unasked } from "../support/unasked-store.ts";

// The parts are stand-ins: that a plan which was taken up can't be loaded later is not to be had from real ones.

test("a cohort whose plan can't be loaded keeps no other one from its rounds", async () => {
  const states = ["broken", "whole"].map((cohort) => cohortState({ cohort: cohortId(cohort) }));
  const of = (cohort: string) => states.filter((state) => state.cohort === cohort);
  const directory = new CohortDirectory({
    loadPlans: async (cohort) => of(cohort),
    revisions: async () => new Map(states.map(({ cohort, revision }) => [cohort, revision])),
  });
  await directory.refreshAll();
  const end = new AbortController();
  const looked: string[] = [];
  const deps = {
    directory,
    store: storeOfRounds(async ({ cohort }) => {
      looked.push(cohort);
      end.abort();
      return { updates: 0, gateways: 0, openedAtMs: null, lastRoundAtMs: null, nowMs: 0 };
    }),
    invitations: { ready: unasked, invite: unasked, end: unasked },
    standings: { of: unasked },
    gateways: { forgetGoneReplicas: async () => undefined },
    openEvaluators: async ({ cohort }: CohortState) => {
      if (cohort === "broken") throw new Error("its graph can't be loaded");
      return { now: unasked, close: async () => undefined };
    },
    duties: [],
    log: createLogger("test", "silent"),
  };
  await new Leader(deps).lead(AbortSignal.any([end.signal, AbortSignal.timeout(20_000)]));
  expect(looked).toEqual(["whole"]);
});
