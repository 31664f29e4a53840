// A cohort as the coordinator knows it, for tests that care about some of it.
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import type { ActivationOrder } from "../../coordinator/ports/federation-store.ts";
import { initialServerState } from "../../learning/aggregation/server-optimisers.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId } from "../../learning/ids.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { testPlan } from "./plan-settings.ts";

/** As long as any test. */
export const BY_TEST: ActivationOrder = {
  actor: "a test",
  reason: "it wants to",
  leaveAfterMs: 3_600_000,
  dryRun: "forced",
  again: true,
};

export function cohortState(change: Partial<CohortState> = {}): CohortState {
  const compiled = compilePlan(testPlan);
  return {
    cohort: cohortId("pumps"),
    state: "active",
    leftPlans: [],
    revision: 1,
    planId: encodeBundle(compiled).planId,
    manifest: compiled.manifest,
    federation: {
      round: { mode: "buffered", updates: 20, intervalMs: 0, deadlineMs: 60_000, minGateways: 2, maxStaleness: 3 },
      samples: { rowsPerSecond: 1_000, burstMs: 60_000 },
      rule: { kind: "fedavg" },
      optimiser: { kind: "none" },
      gate: { margin: 0.05 },
      live: [],
      drift: { drop: 0.1, windows: 3, rows: 2_000, action: "event" },
    },
    champion: { version: 1, weights: compiled.initialWeights, trained: false, fleet: noFleet },
    pin: null,
    lastVersion: 1,
    championVersions: [1],
    rolledBackVersions: [],
    rate: { factor: 1, smoothedQuality: null, measuredOn: null },
    server: initialServerState({ kind: "none" }, compiled.initialWeights.length),
    invitation: null,
    ...change,
  };
}
