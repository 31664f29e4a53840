// Versions as people read them: a row of federated_models with where its weights are.
import { type Kysely, sql } from "kysely";
import type { WeightsState } from "../core/model-actions.ts";
import type { FleetItem, ModelItem } from "../ports/fleet-queries.ts";
import type { Tables } from "./tables.ts";

/** Of the version that the query calls `m`. */
export const weightsState = sql<WeightsState>`CASE
  WHEN m.weights IS NOT NULL THEN 'at_hand'
  WHEN EXISTS (SELECT FROM model_archive a WHERE a.cohort = m.cohort AND a.global_version = m.global_version) THEN 'archived'
  ELSE 'dropped' END`;

export function modelRows(db: Kysely<Tables>) {
  return db
    .selectFrom("federated_models as m")
    .leftJoin("rounds as r", "r.round_id", "m.aggregation_round")
    .select([
      "m.cohort",
      "m.global_version",
      "m.parent_version",
      "m.origin_version",
      "m.plan_id",
      "m.aggregation_round",
    ])
    .select(["m.status", "m.rule", "m.num_devices", "m.num_gateways", "m.total_samples", "m.accuracy", "m.loss"])
    .select(["m.scales", "m.threshold_factor", "m.actor", "m.reason", "r.reason as round_reason", "m.created_at"])
    .select(weightsState.as("weights_state"));
}

type ModelRow = Awaited<ReturnType<ReturnType<typeof modelRows>["executeTakeFirstOrThrow"]>>;

export function modelItem(row: ModelRow): ModelItem {
  return {
    cohort: row.cohort,
    globalVersion: row.global_version,
    parentVersion: row.parent_version,
    originVersion: row.origin_version,
    planId: row.plan_id,
    roundId: row.aggregation_round,
    status: row.status,
    rule: row.rule,
    devices: row.num_devices,
    gateways: row.num_gateways,
    samples: row.total_samples,
    accuracy: number(row.accuracy),
    loss: number(row.loss),
    fleet: fleetItem(row),
    weights: row.weights_state,
    actor: row.actor,
    reason: row.reason ?? row.round_reason,
    createdAt: row.created_at.toISOString(),
  };
}

export type FleetColumns = { readonly scales: number[] | null; readonly threshold_factor: number | null };

export const fleetItem = (row: FleetColumns): FleetItem => ({
  scales: row.scales,
  thresholdFactor: row.threshold_factor,
});

/** Counts of 64 bits may have been written as JSON strings; what an older agent does not say is null. */
export function number(said: unknown): number | null {
  const value = typeof said === "string" && said !== "" ? Number(said) : said;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
