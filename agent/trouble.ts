// What can go wrong beside a reading, as counted and logged.

export type TroubleKind =
  | "extra_channel"
  | "device_silent"
  | "device_offline"
  | "forest_limit"
  | "row_failed"
  | "broker"
  | "no_session"
  | "update_refused"
  | "bad_message"
  | "unknown_cohort"
  | "plan_fetch"
  | "plan_refused"
  | "bad_model"
  | "model_held"
  | "command_refused"
  | "training_failed"
  | "training_diverged"
  | "store_failed"
  | "bad_record"
  | "operation";

/** `where`: device, cohort or topic; `what`: what was wrong and what is allowed. */
export type ReportTrouble = (kind: TroubleKind, where: string, what: string) => void;

/**
 * What `work` gives; null, and told to `failed`, when it throws: a store that can't be written, for a full disk, costs
 * what it should have kept and not the process.
 */
export function guarded<Result>(work: () => Result, failed: (error: Error) => void): Result | null {
  try {
    return work();
  } catch (error) {
    failed(error as Error);
    return null;
  }
}
