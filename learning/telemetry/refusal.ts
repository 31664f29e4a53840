// Messages that are not used, and why.

export type RefusalKind =
  | "malformed_json"
  | "malformed_payload"
  | "invalid_topic"
  | "no_birth"
  | "sequence_gap"
  | "not_mapped"
  | "too_large"
  | "wrong_shape"
  | "bad_value"
  | "out_of_range"
  | "invalid_channel"
  | "missing_channel"
  | "duplicate_timestamp"
  | "out_of_order"
  | "retained"
  | "invalid_device_id"
  | "device_limit"
  | "no_cohort"
  | "queue_full"
  /** Labels and what operators say of alerts. */
  | "bad_label"
  | "unknown_device"
  | "unlabelled_plan"
  | "future_label"
  | "late_label"
  | "trained_label"
  | "unknown_action"
  | "unknown_alert";

export interface Refusal {
  readonly refused: RefusalKind;
  /** What was wrong and what is allowed. */
  readonly detail: string;
}

export const refusal = (refused: RefusalKind, detail: string): Refusal => ({ refused, detail });

export const isRefusal = (value: object): value is Refusal => "refused" in value;
