// The rows of the coordinator's tables, as kysely sees them (adapters/sql holds the tables themselves).
import type { ColumnType, Generated, JSONColumnType } from "kysely";
import type { FederationSettings, Manifest } from "../../learning/plan.ts";

type Time = ColumnType<Date, Date | undefined, Date>;
type NullableJson = ColumnType<object | null, string | null | undefined, string | null>;
/** bigint columns are read as numbers: versions and counts stay far below 2^53. */
type Count = number;

export interface Tables {
  plans: { plan_id: string; manifest: JSONColumnType<Manifest>; bundle: Buffer; created_at: Time };
  cohorts: {
    cohort: string;
    plan_id: string;
    federation: JSONColumnType<FederationSettings>;
    champion_version: Count;
    last_version: Count;
    learning_rate_factor: Generated<number>;
    smoothed_quality: number | null;
    server_m: Buffer | null;
    server_v: Buffer | null;
    server_steps: Generated<number>;
    created_at: Time;
  };
  gateways: {
    gateway_id: string;
    site: string;
    agent_version: string;
    cohorts: JSONColumnType<object[]>;
    health: NullableJson;
    connected: Generated<boolean>;
    last_seen_at: Time;
    created_at: Time;
  };
  rounds: {
    round_id: Generated<Count>;
    cohort: string;
    base_version: Count;
    global_version: Count;
    rule: string;
    verdict: "promoted" | "rejected";
    reason: string;
    updates: number;
    gateways: number;
    samples: Count;
    held_out: NullableJson;
    champion_held_out: NullableJson;
    baselines: NullableJson;
    learning_rate_factor: number;
    opened_at: ColumnType<Date, Date, never>;
    closed_at: Time;
  };
  local_models: {
    id: Generated<Count>;
    update_id: string;
    cohort: string;
    plan_id: string;
    gateway_id: string;
    device_id: string | null;
    model_version: Count;
    global_version: Count;
    samples_processed: Count;
    accuracy: number | null;
    loss: number | null;
    status: "accepted" | "refused" | "clipped" | "aggregated";
    reason: string | null;
    encoding: string;
    delta: Buffer | null;
    round_id: Count | null;
    weight: number | null;
    created_at: Time;
  };
  federated_models: {
    cohort: string;
    global_version: Count;
    aggregation_round: Count | null;
    plan_id: string;
    num_devices: number;
    num_gateways: number;
    total_samples: Count;
    rule: string;
    weights: Buffer;
    status: "candidate" | "champion" | "rejected" | "rolled_back" | "pinned";
    accuracy: number | null;
    loss: number | null;
    parent_version: Count | null;
    scales: number[] | null;
    threshold_factor: number | null;
    created_at: Time;
  };
  gateway_statistics: {
    cohort: string;
    gateway_id: string;
    plan_id: string;
    global_version: Count;
    devices: number;
    scales: number[] | null;
    ratios: Buffer | null;
    reported_at: Time;
  };
  invitations: {
    cohort: string;
    round_id: ColumnType<Count, Count, never>;
    base_version: Count;
    gateways: string[];
    wanted: number;
    deadline_at: Time;
  };
  gateway_standings: {
    gateway_id: string;
    cohort: string;
    standing: Generated<number>;
    rounds_apart: Generated<number>;
    reason: string | null;
    changed_at: Date | null;
    last_invited_round: Count | null;
  };
  audit_log: {
    id: Generated<Count>;
    at: Time;
    actor: string;
    action: string;
    subject: string;
    detail: NullableJson;
  };
  held_out_streams: {
    cohort: string;
    stream: string;
    sha256: string;
    rows: number;
    anomalies: number;
    created_at: Time;
  };
  model_evaluations: {
    cohort: string;
    global_version: Count;
    stream: string;
    device_id: string;
    row_index: number;
    prediction_result: number;
    actual_result: number;
    is_correct: boolean;
    confidence: number;
    score: number;
    threshold: number;
    evaluation_timestamp: Time;
  };
  model_feedback: {
    id: Generated<Count>;
    cohort: string;
    global_version: Count;
    gateway_id: string;
    device_id: string | null;
    prediction: number | null;
    actual_value: number | null;
    error: number | null;
    absolute_error: number | null;
    outcome: "TP" | "FP" | "TN" | "FN" | null;
    error_band: "small" | "middle" | "large" | null;
    promoted: boolean | null;
    learning_rate_factor: number | null;
    loss: number | null;
    loss_before: number | null;
    trend: "falling" | "flat" | "rising" | null;
    agreement: number | null;
    reason: string;
    acknowledged_at: Date | null;
    created_at: Time;
  };
  episodes: {
    alert_id: string;
    gateway_id: string;
    device_id: string;
    cohort: string;
    model_kind: string;
    global_version: Count;
    state: "active" | "cleared";
    severity: "minor" | "major" | "critical";
    score: number;
    threshold: number;
    confidence: number;
    contributors: JSONColumnType<object[]>;
    count: Count;
    started_at: ColumnType<Date, Date, Date>;
    updated_at: ColumnType<Date, Date, Date>;
    received_at: Time;
  };
}
