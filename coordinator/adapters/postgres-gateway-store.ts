// Gateways, their reports and their feedback in PostgreSQL.
import { type JoinBuilder, type Kysely, type Selectable, type SqlBool, sql } from "kysely";
import type { CohortId, GatewayId, PlanId } from "../../learning/ids.ts";
import type { GatewayFeedback } from "../ports/federation-store.ts";
import type {
  FeedbackAcknowledgement,
  GatewayStore,
  ReportedEpisode,
  ReportedStatistics,
} from "../ports/gateway-store.ts";
import type { Tables } from "./tables.ts";

/** A replica that did not show itself for so long is gone, and its gateways' sessions with it. */
const REPLICA_GONE_S = 20;

/** A statement holds at most 65,535 values. */
const EPISODES_A_STATEMENT = 4_000;

export interface ReplicaIdentity {
  readonly replicaId: string;
  readonly version: string;
  /** Nobody else has the database. */
  readonly alone: boolean;
}

export function postgresGatewayStore(db: Kysely<Tables>, { replicaId, version, alone }: ReplicaIdentity): GatewayStore {
  const mine = { connected: true, replica_id: replicaId };
  const nobodys = { connected: false, replica_id: null };
  return {
    showReplica: async () => {
      await db
        .insertInto("replicas")
        .values({ replica_id: replicaId, version })
        .onConflict((conflict) => conflict.column("replica_id").doUpdateSet({ last_seen_at: sql<Date>`now()` }))
        .execute();
    },

    forgetGoneReplicas: async () => {
      const gone = alone
        ? sql<SqlBool>`replica_id <> ${replicaId}`
        : sql<SqlBool>`last_seen_at < now() - make_interval(secs => ${REPLICA_GONE_S})`;
      await db.deleteFrom("replicas").where(gone).execute();
      await db
        .updateTable("gateways")
        .set(nobodys)
        .where("connected", "=", true)
        .where(({ or, eb, not, exists, selectFrom }) =>
          or([
            eb("replica_id", "is", null),
            not(
              exists(
                selectFrom("replicas as r").select("r.replica_id").whereRef("r.replica_id", "=", "gateways.replica_id"),
              ),
            ),
          ]),
        )
        .execute();
    },

    leaveReplicas: async () => {
      await db.updateTable("gateways").set(nobodys).where("replica_id", "=", replicaId).execute();
      await db.deleteFrom("replicas").where("replica_id", "=", replicaId).execute();
    },

    connected: async ({ gatewayId, site, agentVersion, cohorts }) => {
      const facts = {
        site,
        agent_version: agentVersion,
        cohorts: JSON.stringify(cohorts),
        ...mine,
        last_seen_at: sql<Date>`now()`,
      };
      const { other } = await db
        .with("before", (cte) => cte.selectFrom("gateways").select("replica_id").where("gateway_id", "=", gatewayId))
        .insertInto("gateways")
        .values({ gateway_id: gatewayId, ...facts })
        .onConflict((conflict) => conflict.column("gateway_id").doUpdateSet(facts))
        .returning(({ selectFrom }) => selectFrom("before").select("before.replica_id").as("other"))
        .executeTakeFirstOrThrow();
      return other !== null && other !== replicaId;
    },

    seen: async (gateways) => {
      await db
        .updateTable("gateways")
        .set({ last_seen_at: sql<Date>`now()`, ...mine })
        .where("gateway_id", "=", sql<string>`ANY(${gateways})`)
        .execute();
    },

    disconnected: async (gateway) => {
      await db
        .updateTable("gateways")
        .set(nobodys)
        .where("gateway_id", "=", gateway)
        .where("replica_id", "=", replicaId)
        .execute();
    },

    addReports: (reports) =>
      db.transaction().execute(async (trx) => {
        const said = reports.map(({ gatewayId, cohorts, health }) => ({ gateway_id: gatewayId, cohorts, health }));
        await sql`
          UPDATE gateways g SET last_seen_at = now(), cohorts = said.cohorts, health = coalesce(said.health, g.health)
          FROM jsonb_to_recordset(${JSON.stringify(said)}::jsonb) AS said (gateway_id text, cohorts jsonb, health jsonb)
          WHERE g.gateway_id = said.gateway_id`.execute(trx);
        const statistics = reports.flatMap(({ gatewayId, statistics }) =>
          statistics.map((told) => statisticsRow(gatewayId, told)),
        );
        const episodes = reports.flatMap(({ gatewayId, episodes }) =>
          episodes.map((episode) => episodeRow(gatewayId, episode)),
        );
        await keepStatistics(trx, statistics);
        for (let from = 0; from < episodes.length; from += EPISODES_A_STATEMENT) {
          await keepEpisodes(trx, episodes.slice(from, from + EPISODES_A_STATEMENT));
        }
      }),

    openFeedback: async (gateway) => {
      const rows = await db
        .selectFrom("model_feedback as f")
        .innerJoin("federated_models as m", sameVersion)
        .distinctOn("f.cohort")
        .selectAll("f")
        .select("m.plan_id")
        .where("f.gateway_id", "=", gateway)
        .where("f.acknowledged_at", "is", null)
        .where("f.learning_rate_factor", "is not", null)
        .orderBy("f.cohort")
        .orderBy("f.global_version", "desc")
        .execute();
      return rows.map(feedbackOf);
    },

    feedbackSince: async (cohort, version) => {
      const rows = await db
        .selectFrom("model_feedback as f")
        .innerJoin("federated_models as m", sameVersion)
        .selectAll("f")
        .select("m.plan_id")
        .where("f.cohort", "=", cohort)
        .where("f.global_version", ">", version)
        .where("f.learning_rate_factor", "is not", null)
        .orderBy("f.global_version")
        .execute();
      return rows.map(feedbackOf);
    },

    acknowledgeFeedback: async (acknowledged) => {
      const of = <Value>(value: (each: FeedbackAcknowledgement) => Value) => acknowledged.map(value);
      await sql`
        UPDATE model_feedback f SET acknowledged_at = now()
        FROM unnest(${of(({ gatewayId }) => gatewayId)}::text[], ${of(({ cohort }) => cohort)}::text[],
                    ${of(({ globalVersion }) => globalVersion)}::bigint[]) AS a (gateway_id, cohort, global_version)
        WHERE f.gateway_id = a.gateway_id AND f.cohort = a.cohort AND f.global_version <= a.global_version
          AND f.acknowledged_at IS NULL`.execute(db);
    },
  };
}

/** Of the candidate that the feedback is on. */
const sameVersion = (
  join: JoinBuilder<Tables & { f: Tables["model_feedback"]; m: Tables["federated_models"] }, "f" | "m">,
) => join.onRef("m.cohort", "=", "f.cohort").onRef("m.global_version", "=", "f.global_version");

function feedbackOf(row: Selectable<Tables["model_feedback"]> & { readonly plan_id: string }): GatewayFeedback {
  return {
    cohort: row.cohort as CohortId,
    planId: row.plan_id as PlanId,
    gatewayId: row.gateway_id as GatewayId,
    version: row.global_version,
    promoted: row.promoted ?? false,
    factor: row.learning_rate_factor ?? 1,
    lossBefore: row.loss_before,
    lossAfter: row.loss,
    trend: row.trend,
    agreement: row.agreement,
    reason: row.reason,
  };
}

async function keepStatistics(trx: Kysely<Tables>, rows: ReturnType<typeof statisticsRow>[]): Promise<void> {
  if (rows.length === 0) return;
  await trx
    .insertInto("gateway_statistics")
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(["cohort", "gateway_id"]).doUpdateSet(({ ref }) => ({
        plan_id: ref("excluded.plan_id"),
        global_version: ref("excluded.global_version"),
        devices: ref("excluded.devices"),
        scales: ref("excluded.scales"),
        ratios: ref("excluded.ratios"),
        reported_at: ref("excluded.reported_at"),
      })),
    )
    .execute();
}

async function keepEpisodes(trx: Kysely<Tables>, rows: ReturnType<typeof episodeRow>[]): Promise<void> {
  await trx
    .insertInto("episodes")
    .values(rows)
    .onConflict((conflict) =>
      conflict
        .column("alert_id")
        .doUpdateSet(({ ref }) => ({
          state: ref("excluded.state"),
          severity: ref("excluded.severity"),
          score: ref("excluded.score"),
          threshold: ref("excluded.threshold"),
          confidence: ref("excluded.confidence"),
          contributors: ref("excluded.contributors"),
          count: ref("excluded.count"),
          updated_at: ref("excluded.updated_at"),
        }))
        .whereRef("episodes.gateway_id", "=", "excluded.gateway_id")
        .whereRef("excluded.updated_at", ">=", "episodes.updated_at"),
    )
    .execute();
}

function statisticsRow(
  gateway: GatewayId,
  { cohort, planId, globalVersion, devices, scales, ratios }: ReportedStatistics,
) {
  return {
    cohort,
    gateway_id: gateway,
    plan_id: planId,
    global_version: globalVersion,
    devices,
    scales: scales && [...scales],
    ratios: ratios && Buffer.from(ratios.serialise()),
    reported_at: sql<Date>`now()`,
  };
}

function episodeRow(gateway: GatewayId, episode: ReportedEpisode) {
  return {
    alert_id: episode.alertId,
    gateway_id: gateway,
    device_id: episode.deviceId,
    cohort: episode.cohort,
    model_kind: episode.modelKind,
    global_version: episode.globalVersion,
    state: episode.state,
    severity: episode.severity,
    score: episode.score,
    threshold: episode.threshold,
    confidence: episode.confidence,
    contributors: JSON.stringify(episode.contributors),
    count: episode.count,
    started_at: new Date(episode.startedAtMs),
    updated_at: new Date(episode.updatedAtMs),
  };
}
