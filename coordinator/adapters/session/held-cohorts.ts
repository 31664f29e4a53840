// What a gateway says it holds of its cohorts, bounded before it is kept.
import type { Candidate, CohortState as HeldOnTheWire, Trial } from "../../../proto/gen/flead/v1/federation.ts";
import type { CohortState } from "../../core/cohort-state.ts";
import type { Cohorts } from "../../ports/cohorts.ts";
import type { HeldCandidate, HeldCohort, HeldTrial } from "../../ports/gateway-store.ts";

export const MAX_COHORTS = 64;
const MAX_DEVICES_A_COHORT = 2_000;
const MAX_TEXT_CHARACTERS = 64;

export const bounded = (text: string) => text.slice(0, MAX_TEXT_CHARACTERS);

/** Throws when there are more cohorts than a gateway can have. */
export function heldCohorts(cohorts: readonly HeldOnTheWire[]): HeldCohort[] {
  if (cohorts.length > MAX_COHORTS) throw new Error(`${cohorts.length} cohorts; allowed are ${MAX_COHORTS}`);
  return cohorts.map(({ cohort, planId, globalVersion, devices, candidate, previousVersion }) => ({
    cohort: bounded(cohort),
    planId: bounded(planId),
    globalVersion: Number(globalVersion),
    devices: devices.slice(0, MAX_DEVICES_A_COHORT).map(bounded),
    candidate: candidate === undefined ? null : heldCandidate(candidate),
    previousVersion: previousVersion === 0n ? null : Number(previousVersion),
  }));
}

const heldCandidate = ({ globalVersion, trial }: Candidate): HeldCandidate => ({
  globalVersion: Number(globalVersion),
  trial: trial === undefined ? null : heldTrial(trial),
});

const heldTrial = ({ rows, change, labelledRows, labelledDifference }: Trial): HeldTrial => ({
  rows,
  ratio: change?.$case === "ratio" ? finiteOrNull(change.value) : null,
  difference: change?.$case === "difference" ? finiteOrNull(change.value) : null,
  labelledRows,
  labelledDifference: finiteOrNull(labelledDifference ?? Number.NaN),
});

const finiteOrNull = (value: number) => (Number.isFinite(value) ? value : null);

/** The cohort under the plan that is spoken of, or under its active one if it learns by no such plan. */
export const planOf = (
  cohorts: Pick<Cohorts, "get">,
  { cohort, planId }: { readonly cohort: string; readonly planId: string },
): CohortState | undefined => cohorts.get(cohort, planId) ?? cohorts.get(cohort);
