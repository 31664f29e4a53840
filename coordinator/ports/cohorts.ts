// The cohorts as the sessions see them.
import type { CohortState } from "../core/cohort-state.ts";

export interface Cohorts {
  /** Under its active plan, or under `plan`, active or leaving. */
  get(cohort: string, plan?: string): CohortState | undefined;
  /** To be called after an update was stored: its round may be full. */
  updateStored(cohort: string): void;
}
