// What an operator does with a cohort's versions.
import type { CohortId } from "../../learning/ids.ts";
import type { ModelAction, Pin } from "../core/model-actions.ts";

export interface ModelOrder {
  readonly cohort: CohortId;
  readonly action: ModelAction;
  readonly actor: string;
  readonly reason: string;
  /** The champion that the operator saw: another one by now refuses the action. Null: whichever it is. */
  readonly expectedChampion: number | null;
}

/** After the action. */
export interface Standing {
  readonly cohort: CohortId;
  readonly championVersion: number;
  readonly pin: Pin | null;
}

export interface ModelActions {
  /**
   * All of it with its audit row, or nothing. A round that is being evaluated meanwhile is not recorded: it is run again
   * from what stands then. Every coordinator hears of it. Rejects with UnknownModelError, ModelActionRefusedError, or
   * FleetUnavailableError when the store does not answer.
   */
  act(order: ModelOrder): Promise<Standing>;
}

/** The store answers, but can't do as asked. */
export class ModelError extends Error {}

/** There is no such cohort or version. */
export class UnknownModelError extends ModelError {
  constructor(cohort: string, version?: number) {
    super(version === undefined ? `there is no cohort ${cohort}` : `cohort ${cohort} has no version ${version}`);
    this.name = "UnknownModelError";
  }
}

/** It stands so that the action can't be done; the message says how. */
export class ModelActionRefusedError extends ModelError {
  constructor(why: string) {
    super(why);
    this.name = "ModelActionRefusedError";
  }
}
