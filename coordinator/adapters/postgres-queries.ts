// The admin API's reads, in SQL. A page begins after a key, not at an offset, so that new rows shift nothing.
import { type Kysely, type Selectable, type SqlBool, sql } from "kysely";
import type { DetectionScores } from "../../learning/detection.ts";
import type { Baselines } from "../core/evaluate.ts";
import type {
  CohortOverview,
  Contributor,
  EpisodeItem,
  FleetQueries,
  GatewayHealth,
  GatewayItem,
  MeasuredRound,
  ReplicaItem,
  RoundItem,
} from "../ports/fleet-queries.ts";
import { leadingReplica } from "./leadership.ts";
import { type FleetColumns, fleetItem, modelItem, modelRows, number } from "./model-rows.ts";
import { ALL, answered, microseconds, olderThan, page } from "./pages.ts";
import { gatewaysHolding } from "./postgres-plans.ts";
import type { Tables } from "./tables.ts";

export function postgresQueries(kysely: Kysely<Tables>): FleetQueries {
  return {
    cohorts: () => answered(readCohorts(kysely)),

    gateways: async ({ limit, after, cohort }) => {
      const query = gatewayRows(kysely)
        .where(cohort === null ? ALL : sql<SqlBool>`cohorts @> ${JSON.stringify([{ cohort }])}::jsonb`)
        .where(after === null ? ALL : olderThan("created_at", ["gateway_id"], after.atUs, [after.id]))
        .orderBy("created_at", "desc")
        .orderBy("gateway_id")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, gatewayItem, (row) => ({
        atUs: row.at_us,
        id: row.gateway_id,
      }));
    },

    gateway: async (gateway) => {
      const row = await answered(gatewayRows(kysely).where("gateway_id", "=", gateway).executeTakeFirst());
      return row === undefined ? null : gatewayItem(row);
    },

    replicas: () => answered(readReplicas(kysely)),

    rounds: async ({ limit, after, cohort }) => {
      const query = roundRows(kysely)
        .where(cohort === null ? ALL : sql<SqlBool>`rounds.cohort = ${cohort}`)
        .where(after === null ? ALL : sql<SqlBool>`round_id < ${after.roundId}`)
        .orderBy("round_id", "desc")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, roundItem, (row) => ({ roundId: row.round_id }));
    },

    round: (roundId) => answered(readRound(kysely, roundId)),

    models: async ({ limit, after, cohort }) => {
      const query = modelRows(kysely)
        .select(microseconds("m.created_at"))
        .where(cohort === null ? ALL : sql<SqlBool>`m.cohort = ${cohort}`)
        .where(
          after === null
            ? ALL
            : olderThan("m.created_at", ["m.cohort", "m.global_version"], after.atUs, [
                after.cohort,
                after.globalVersion,
              ]),
        )
        .orderBy("m.created_at", "desc")
        .orderBy("m.cohort")
        .orderBy("m.global_version")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, modelItem, (row) => ({
        atUs: row.at_us,
        cohort: row.cohort,
        globalVersion: row.global_version,
      }));
    },

    episodes: async ({ limit, after, cohort }) => {
      const query = kysely
        .selectFrom("episodes")
        .selectAll()
        .select(microseconds("received_at"))
        .where(cohort === null ? ALL : sql<SqlBool>`cohort = ${cohort}`)
        .where(after === null ? ALL : olderThan("received_at", ["alert_id"], after.atUs, [after.id]))
        .orderBy("received_at", "desc")
        .orderBy("alert_id")
        .limit(limit + 1);
      return page(await answered(query.execute()), limit, episodeItem, (row) => ({
        atUs: row.at_us,
        id: row.alert_id,
      }));
    },
  };
}

function roundRows(kysely: Kysely<Tables>) {
  return kysely
    .selectFrom("rounds")
    .leftJoin("federated_models as m", (join) =>
      join.onRef("m.cohort", "=", "rounds.cohort").onRef("m.global_version", "=", "rounds.global_version"),
    )
    .selectAll("rounds")
    .select(["m.scales", "m.threshold_factor"]);
}

async function readRound(kysely: Kysely<Tables>, roundId: number): Promise<MeasuredRound | null> {
  const row = await roundRows(kysely).where("round_id", "=", roundId).executeTakeFirst();
  if (row === undefined) return null;
  const streams = await kysely
    .selectFrom("evaluation_scores")
    .selectAll()
    .where("cohort", "=", row.cohort)
    .where("global_version", "=", row.global_version)
    .orderBy("stream")
    .execute();
  return {
    ...roundItem(row),
    streams: streams.map((each) => ({
      stream: each.stream,
      sha256: each.sha256,
      scores: each.scores as DetectionScores,
      champion: each.champion_scores as DetectionScores | null,
      baselines: each.baselines as Baselines | null,
    })),
  };
}

const MAX_REPLICAS = 1000;

async function readCohorts(kysely: Kysely<Tables>): Promise<CohortOverview[]> {
  const rows = await kysely
    .selectFrom("cohort_plans as c")
    .where("c.state", "=", "active")
    .leftJoin("local_models as u", (join) =>
      join
        .onRef("u.cohort", "=", "c.cohort")
        .onRef("u.plan_id", "=", "c.plan_id")
        .on("u.status", "in", ["accepted", "clipped"])
        .on("u.round_id", "is", null),
    )
    .select(["c.cohort", "c.plan_id", "c.champion_version", "c.learning_rate_factor", "c.federation"])
    .select(["c.pinned_by", "c.pin_reason", "c.pinned_at"])
    .select(({ fn }) => [
      fn.count<number>("u.id").as("updates"),
      fn.count<number>("u.gateway_id").distinct().as("gateways"),
      fn.min("u.created_at").as("opened_at"),
    ])
    .select((eb) => [
      eb
        .selectFrom("rounds as r")
        .whereRef("r.cohort", "=", "c.cohort")
        .select(sql<number>`coalesce(sum(r.updates), 0)::bigint`.as("n"))
        .as("aggregated"),
      eb
        .selectFrom("local_models as f")
        .whereRef("f.cohort", "=", "c.cohort")
        .where("f.status", "=", "refused")
        .select(({ fn }) => fn.countAll<number>().as("n"))
        .as("refused"),
      eb
        .selectFrom("local_models as w")
        .whereRef("w.cohort", "=", "c.cohort")
        .where("w.status", "in", ["accepted", "clipped"])
        .select(({ fn }) => fn.countAll<number>().as("n"))
        .as("waiting"),
      eb
        .selectFrom("cohort_plans as l")
        .whereRef("l.cohort", "=", "c.cohort")
        .where("l.state", "=", "leaving")
        .select(
          sql<NonNullable<CohortOverview["leaving"]>>`jsonb_build_object('planId', l.plan_id,
            'championVersion', l.champion_version, 'leaveBy', l.leave_by, 'gateways', ${gatewaysHolding("l")})`.as(
            "plan",
          ),
        )
        .as("leaving"),
    ])
    .groupBy(["c.cohort", "c.plan_id"])
    .orderBy("c.cohort")
    .execute();
  return rows.map((row) => {
    const { round } = row.federation;
    return {
      cohort: row.cohort,
      planId: row.plan_id,
      championVersion: row.champion_version,
      leaving: row.leaving && { ...row.leaving, leaveBy: new Date(row.leaving.leaveBy).toISOString() },
      learningRateFactor: row.learning_rate_factor,
      pin: row.pinned_by === null ? null : { by: row.pinned_by, reason: row.pin_reason ?? "" },
      openRound: {
        updates: row.updates,
        updatesWanted: round.mode === "buffered" ? round.updates : round.gateways,
        gateways: row.gateways,
        gatewaysWanted: round.minGateways,
        openedAt: row.opened_at?.toISOString() ?? null,
      },
      updates: {
        acknowledged: (row.waiting ?? 0) + (row.aggregated ?? 0),
        aggregated: row.aggregated ?? 0,
        refused: row.refused ?? 0,
      },
    };
  });
}

async function readReplicas(kysely: Kysely<Tables>): Promise<ReplicaItem[]> {
  const [rows, leader] = await Promise.all([
    kysely
      .selectFrom("replicas as r")
      .select(["r.replica_id", "r.version", "r.started_at", "r.last_seen_at"])
      .select((eb) =>
        eb
          .selectFrom("gateways as g")
          .whereRef("g.replica_id", "=", "r.replica_id")
          .where("g.connected", "=", true)
          .select(({ fn }) => fn.countAll<number>().as("n"))
          .as("gateways"),
      )
      .orderBy("r.started_at")
      .orderBy("r.replica_id")
      .limit(MAX_REPLICAS)
      .execute(),
    leadingReplica(kysely),
  ]);
  return rows.map((row) => ({
    replicaId: row.replica_id,
    version: row.version,
    leads: row.replica_id === leader,
    gateways: row.gateways ?? 0,
    startedAt: row.started_at.toISOString(),
    lastSeenAt: row.last_seen_at.toISOString(),
  }));
}

interface StandingColumns {
  readonly cohort: string;
  readonly standing: number;
  readonly reason: string | null;
  /** As PostgreSQL writes it into JSON. */
  readonly changedAt: string | null;
}

function standingItem(cohort: string, standings: readonly StandingColumns[] | null) {
  const found = standings?.find((each) => each.cohort === cohort);
  return {
    standing: found?.standing ?? 1,
    standingReason: found?.reason ?? null,
    standingChangedAt: found?.changedAt ? new Date(found.changedAt).toISOString() : null,
  };
}

const gatewayRows = (kysely: Kysely<Tables>) =>
  kysely
    .selectFrom("gateways")
    .selectAll()
    .select(microseconds("created_at"))
    .select((eb) =>
      eb
        .selectFrom("gateway_standings as s")
        .whereRef("s.gateway_id", "=", "gateways.gateway_id")
        .select(
          sql<StandingColumns[]>`coalesce(json_agg(json_build_object('cohort', s.cohort, 'standing', s.standing,
            'reason', s.reason, 'changedAt', s.changed_at)), '[]')`.as("all"),
        )
        .as("standings"),
    );

type GatewayRow = Selectable<Tables["gateways"]> & { readonly standings: StandingColumns[] | null };

function gatewayItem(row: GatewayRow): GatewayItem {
  return {
    gatewayId: row.gateway_id,
    site: row.site,
    agentVersion: row.agent_version,
    connected: row.connected,
    lastSeenAt: row.last_seen_at.toISOString(),
    createdAt: row.created_at.toISOString(),
    cohorts: (row.cohorts as Partial<GatewayItem["cohorts"][number]>[]).map((held) => ({
      cohort: String(held.cohort),
      planId: held.planId || null,
      globalVersion: number(held.globalVersion),
      devices: (held.devices ?? []).map(String),
      candidate: held.candidate ?? null,
      previousVersion: held.previousVersion ?? null,
      ...standingItem(String(held.cohort), row.standings),
    })),
    health: row.health === null ? null : gatewayHealth(row.health as Record<string, unknown>),
  };
}

function gatewayHealth(said: Record<string, unknown>): GatewayHealth {
  return {
    rows: number(said.rows),
    rowsRefused: number(said.rowsRefused),
    updatesTrained: number(said.updatesTrained),
    samplesTrained: number(said.samplesTrained),
    outboxBytes: number(said.outboxBytes),
    outboxDropped: number(said.outboxDropped),
    rssBytes: number(said.rssBytes),
    windowsDropped: number(said.windowsDropped),
    clock: typeof said.clock === "string" ? said.clock : null,
    quarantinedFiles: number(said.quarantinedFiles),
    storeBytes: number(said.storeBytes),
    flashWrittenToday: number(said.flashWrittenToday),
    carriedToday: number(said.carriedToday),
    summariesWithheld: flag(said.summariesWithheld),
    updatesWithheld: flag(said.updatesWithheld),
  };
}

/** Kept as 0 or 1. */
const flag = (said: unknown): boolean | null => (number(said) === null ? null : said === 1);

export function roundItem(row: Selectable<Tables["rounds"]> & FleetColumns): RoundItem {
  return {
    roundId: row.round_id,
    cohort: row.cohort,
    baseVersion: row.base_version,
    globalVersion: row.global_version,
    rule: row.rule,
    verdict: row.verdict,
    reason: row.reason,
    updates: row.updates,
    gateways: row.gateways,
    samples: row.samples,
    heldOut: detectionScores(row.held_out as object | null),
    championHeldOut: detectionScores(row.champion_held_out as object | null),
    baselines: baselines(row.baselines as object | null),
    fleet: fleetItem(row),
    learningRateFactor: row.learning_rate_factor,
    openedAt: row.opened_at.toISOString(),
    closedAt: row.closed_at.toISOString(),
  };
}

/** A round of an older coordinator tells of rows only: what it did not measure is null. */
const detectionScores = (stored: object | null) =>
  stored && ({ events: null, vusPr: null, ...stored } as DetectionScores);

const baselines = (stored: object | null) =>
  stored &&
  (Object.fromEntries(Object.entries(stored).map(([name, scores]) => [name, detectionScores(scores)])) as Record<
    keyof Baselines,
    DetectionScores
  >);

function episodeItem(row: Selectable<Tables["episodes"]>): EpisodeItem {
  return {
    alertId: row.alert_id,
    gatewayId: row.gateway_id,
    deviceId: row.device_id,
    cohort: row.cohort,
    modelKind: row.model_kind,
    globalVersion: row.global_version,
    state: row.state,
    severity: row.severity,
    score: row.score,
    threshold: row.threshold,
    confidence: row.confidence,
    contributors: row.contributors as Contributor[],
    count: row.count,
    startedAt: row.started_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    receivedAt: row.received_at.toISOString(),
  };
}
