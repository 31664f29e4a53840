// Rows of a small fleet as the coordinator would have written them, for tests of what reads them.
import type { Kysely } from "kysely";
import type { Tables } from "../../coordinator/adapters/tables.ts";
import type { DetectionScores } from "../../learning/detection.ts";

export const PLAN_ID = "5f".repeat(32);
const START_MS = Date.parse("2026-11-21T08:00:00Z");

export const minutes = (n: number) => new Date(START_MS + n * 60_000);

/** Scores of 1000 labelled windows, 200 of them anomalies in 6 events. */
export function scores(tp: number, fp: number, prAuc: number | null): DetectionScores {
  const fn = 200 - tp;
  const precision = tp + fp > 0 ? tp / (tp + fp) : null;
  const f1 = (2 * tp) / (2 * tp + fp + fn);
  const interval = [Math.max(0, f1 - 0.06), Math.min(1, f1 + 0.05)] as const;
  return {
    n: 1000,
    tp,
    fp,
    tn: 800 - fp,
    fn,
    precision,
    recall: tp / 200,
    f1,
    prAuc,
    loss: 0.4 + fn / 200,
    f1Interval: interval,
    events: {
      events: 6,
      detectedEvents: 5,
      luckyEvents: 0,
      episodes: 7,
      trueEpisodes: 6,
      precision: 6 / 7,
      recall: 5 / 6,
      f1: 60 / 71,
      delayMedianRows: 12,
      delayMedianS: 12,
    },
    vusPr: prAuc === null ? null : prAuc - 0.1,
  };
}

export const BASELINES = {
  alwaysNormal: { ...scores(0, 0, 0.2), f1Interval: null, loss: null },
  alwaysAlarm: { ...scores(200, 800, 0.2), loss: null },
  zScore: { ...scores(96, 60, 0.48), loss: null },
};

export async function addCohort(kysely: Kysely<Tables>, cohort: string, championVersion: number): Promise<void> {
  const plan = { plan_id: PLAN_ID, manifest: "{}", bundle: Buffer.from("bundle"), created_at: minutes(0) };
  await kysely
    .insertInto("plans")
    .values(plan)
    .onConflict((on) => on.doNothing())
    .execute();
  await kysely
    .insertInto("cohorts")
    .values({ cohort, last_version: championVersion, created_at: minutes(0) })
    .execute();
  await kysely
    .insertInto("cohort_plans")
    .values({
      cohort,
      plan_id: PLAN_ID,
      state: "active",
      federation: JSON.stringify({
        round: { mode: "buffered", updates: 20, intervalMs: 0, deadlineMs: 60_000, minGateways: 2, maxStaleness: 20 },
        gate: { margin: 0.05 },
      }),
      champion_version: championVersion,
      activated_at: minutes(0),
    })
    .execute();
}

export interface RoundValues {
  cohort: string;
  version: number;
  verdict: "promoted" | "rejected";
  reason: string;
  heldOut: DetectionScores | null;
  championHeldOut: DetectionScores | null;
  factor: number;
  closedAt?: Date;
}

export async function addRound(kysely: Kysely<Tables>, round: RoundValues): Promise<number> {
  const closedAt = round.closedAt ?? minutes(round.version);
  const { round_id } = await kysely
    .insertInto("rounds")
    .values({
      cohort: round.cohort,
      base_version: Math.max(1, round.version - 1),
      global_version: round.version,
      rule: "fedavg",
      verdict: round.verdict,
      reason: round.reason,
      updates: 20,
      gateways: 5,
      samples: 1000,
      held_out: JSON.stringify(round.heldOut) as never,
      champion_held_out: JSON.stringify(round.championHeldOut) as never,
      baselines: JSON.stringify(round.heldOut && BASELINES) as never,
      learning_rate_factor: round.factor,
      opened_at: new Date(closedAt.getTime() - 50_000),
      closed_at: closedAt,
    })
    .returning("round_id")
    .executeTakeFirstOrThrow();
  await kysely
    .insertInto("federated_models")
    .values({
      cohort: round.cohort,
      global_version: round.version,
      aggregation_round: round_id,
      plan_id: PLAN_ID,
      num_devices: 12,
      num_gateways: 5,
      total_samples: 1000,
      rule: "fedavg",
      weights: Buffer.alloc(8),
      status: round.verdict === "promoted" ? "champion" : "rejected",
      accuracy: round.heldOut && (round.heldOut.tp + round.heldOut.tn) / round.heldOut.n,
      loss: round.heldOut?.loss ?? null,
      parent_version: Math.max(1, round.version - 1),
      created_at: closedAt,
    })
    .execute();
  return round_id;
}

export interface GatewayValues {
  gatewayId: string;
  cohort: string;
  site?: string;
  connected?: boolean;
  devices?: string[];
  health?: Record<string, number> | null;
  createdAt?: Date;
  lastSeenAt?: Date;
}

export async function addGateway(kysely: Kysely<Tables>, gateway: GatewayValues): Promise<void> {
  const devices = gateway.devices ?? ["pump-1", "pump-2"];
  await kysely
    .insertInto("gateways")
    .values({
      gateway_id: gateway.gatewayId,
      site: gateway.site ?? "north-plant",
      agent_version: "0.1.0",
      cohorts: JSON.stringify([{ cohort: gateway.cohort, planId: PLAN_ID, globalVersion: 7, devices }]),
      health: JSON.stringify(gateway.health ?? null) as never,
      connected: gateway.connected ?? true,
      created_at: gateway.createdAt ?? minutes(0),
      last_seen_at: gateway.lastSeenAt ?? minutes(10),
    })
    .execute();
}

export async function addOpenUpdate(
  kysely: Kysely<Tables>,
  cohort: string,
  gatewayId: string,
  n: number,
): Promise<void> {
  await kysely
    .insertInto("local_models")
    .values({
      update_id: `01K0000000000000000000${String(n).padStart(4, "0")}`,
      cohort,
      plan_id: PLAN_ID,
      gateway_id: gatewayId,
      device_id: null,
      model_version: n,
      global_version: 7,
      samples_processed: 50,
      accuracy: null,
      loss: 0.5,
      status: "accepted",
      reason: null,
      encoding: "float32",
      delta: Buffer.alloc(8),
      round_id: null,
      weight: null,
      created_at: minutes(10 + n / 60),
    })
    .execute();
}

export interface EpisodeValues {
  alertId: string;
  cohort: string;
  deviceId?: string;
  gatewayId?: string;
  severity?: "minor" | "major" | "critical";
  state?: "active" | "cleared";
  contributors?: { channel: string; share: number; value: number; expected: [number, number]; unit: string }[];
  receivedAt?: Date;
}

export async function addEpisode(kysely: Kysely<Tables>, episode: EpisodeValues): Promise<void> {
  const receivedAt = episode.receivedAt ?? minutes(9);
  await kysely
    .insertInto("episodes")
    .values({
      alert_id: episode.alertId,
      gateway_id: episode.gatewayId ?? "gw-1",
      device_id: episode.deviceId ?? "pump-1",
      cohort: episode.cohort,
      model_kind: "federated",
      global_version: 7,
      state: episode.state ?? "active",
      severity: episode.severity ?? "critical",
      score: 3.2,
      threshold: 1.4,
      confidence: 0.98,
      contributors: JSON.stringify(
        episode.contributors ?? [
          { channel: "vibration_x", share: 0.61, value: 9.2, expected: [2.1, 4], unit: "mm/s" },
          { channel: "motor_current", share: 0.22, value: 14.8, expected: [10.5, 13.2], unit: "A" },
        ],
      ),
      count: 14,
      started_at: new Date(receivedAt.getTime() - 95_000),
      updated_at: receivedAt,
      received_at: receivedAt,
    })
    .execute();
}
