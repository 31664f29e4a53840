// A cohort under a plan as one value: what it learns, its champion, and what that means for an arriving update.
import type { ServerState } from "../../learning/aggregation/server-optimisers.ts";
import type { FleetStatistics } from "../../learning/fleet.ts";
import type { CohortId, PlanId } from "../../learning/ids.ts";
import type { FederationSettings, Manifest } from "../../learning/plan.ts";
import type { CohortFacts } from "./check-update.ts";
import type { Invitation } from "./invitation.ts";
import type { RateState } from "./learning-rate.ts";
import type { Pin } from "./model-actions.ts";

export interface GlobalModel {
  readonly version: number;
  readonly weights: Float32Array;
  /** False for a plan's initial weights: a base to train from, not a detector. */
  readonly trained: boolean;
  /** As pooled when it was made. */
  readonly fleet: FleetStatistics;
}

/** A cohort learns by its active plan; one that is being left serves the gateways that still hold it. */
export type PlanState = "active" | "leaving" | "left";

/** A cohort under one of its plans. */
export interface CohortState {
  readonly cohort: CohortId;
  readonly state: Exclude<PlanState, "left">;
  /** The other plans that it once learned by. */
  readonly leftPlans: readonly PlanId[];
  /** Rises with every change of what is stored of it, under this plan or another. */
  readonly revision: number;
  readonly planId: PlanId;
  readonly manifest: Manifest;
  readonly federation: FederationSettings;
  readonly champion: GlobalModel;
  /** While it is pinned no candidate takes the champion's place. */
  readonly pin: Pin | null;
  /** The highest version ever given, promoted or not, under any plan. */
  readonly lastVersion: number;
  /** Every version of this plan that was champion and that nobody rolled back, oldest first, the current one last. */
  readonly championVersions: readonly number[];
  /** Those that were: what was learned from them does not count. */
  readonly rolledBackVersions: readonly number[];
  readonly rate: RateState;
  readonly server: ServerState;
  /** Of the synchronous round that is open; null: none is. */
  readonly invitation: Invitation | null;
}

export function championsSince(state: CohortState, version: number): number {
  const { championVersions } = state;
  let newer = 0;
  while (newer < championVersions.length && (championVersions.at(-1 - newer) ?? 0) > version) newer++;
  return newer;
}

export function cohortFacts(state: CohortState): CohortFacts {
  return {
    planId: state.planId,
    isLeft: (plan) => state.leftPlans.some((left) => left === plan),
    championVersion: state.champion.version,
    isKnownBase: (version) => state.championVersions.includes(version) || state.rolledBackVersions.includes(version),
    isRolledBack: (version) => state.rolledBackVersions.includes(version),
    championsSince: (version) => championsSince(state, version),
    maxStaleness: state.federation.round.maxStaleness,
  };
}

/**
 * A rejected candidate uses up its number and moves the rate; champion and server optimiser stay as they were. A round's
 * invitation ends with it.
 */
export function afterRound(
  state: CohortState,
  candidate: GlobalModel,
  promoted: boolean,
  rate: RateState,
  server: ServerState,
): CohortState {
  const { version } = candidate;
  return {
    ...state,
    revision: state.revision + 1,
    champion: promoted ? candidate : state.champion,
    lastVersion: version,
    championVersions: promoted ? [...state.championVersions, version] : state.championVersions,
    rate,
    server: promoted ? server : state.server,
    invitation: null,
  };
}
