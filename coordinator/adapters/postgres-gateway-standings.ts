// Gateways' standings in PostgreSQL, each change with its entry in the audit log.
import { type Kysely, sql, type Transaction } from "kysely";
import type { CohortId, GatewayId } from "../../learning/ids.ts";
import { FULL_STANDING } from "../core/gateway-standing.ts";
import type { StandingChange } from "../ports/federation-store.ts";
import type { GatewayStandings } from "../ports/gateway-standings.ts";
import { answered } from "./pages.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

export function postgresGatewayStandings(db: Kysely<Tables>): GatewayStandings {
  return {
    of: async (cohort, gateways) => {
      const rows = await db
        .selectFrom("gateway_standings")
        .select(["gateway_id", "standing", "rounds_apart", "reason"])
        .where("cohort", "=", cohort)
        .where(sql<boolean>`gateway_id = ANY(${gateways}::text[])`)
        .execute();
      return new Map(
        rows.map(({ gateway_id, standing, rounds_apart, reason }) => [
          gateway_id,
          { value: standing, roundsApart: rounds_apart, reason },
        ]),
      );
    },

    reset: (cohort, gatewayId, actor) =>
      answered(db.transaction().execute((trx) => reset(trx, cohort, gatewayId, actor))),
  };
}

async function reset(
  trx: Transaction<Tables>,
  cohort: CohortId,
  gatewayId: GatewayId,
  actor: string,
): Promise<boolean> {
  const row = await trx
    .selectFrom("gateway_standings")
    .select("standing")
    .where("gateway_id", "=", gatewayId)
    .where("cohort", "=", cohort)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined || row.standing === FULL_STANDING.value) return areKnown(trx, cohort, gatewayId);
  const { value, roundsApart, reason } = FULL_STANDING;
  await trx
    .updateTable("gateway_standings")
    .set({ standing: value, rounds_apart: roundsApart, reason, changed_at: sql<Date>`now()` })
    .where("gateway_id", "=", gatewayId)
    .where("cohort", "=", cohort)
    .execute();
  await postgresAuditLog(trx).record({
    actor,
    action: "gateway.standing_reset",
    subject: `cohort/${cohort}/gateway/${gatewayId}`,
    detail: { from: row.standing, to: value },
  });
  return true;
}

async function areKnown(trx: Transaction<Tables>, cohort: CohortId, gatewayId: GatewayId): Promise<boolean> {
  const row = await trx
    .selectFrom(["gateways", "cohorts"])
    .select("gateway_id")
    .where("gateway_id", "=", gatewayId)
    .where("cohorts.cohort", "=", cohort)
    .executeTakeFirst();
  return row !== undefined;
}

/** Those that were reset since the round read them stay as they are. */
export async function recordStandings(
  trx: Transaction<Tables>,
  cohort: CohortId,
  globalVersion: number,
  changes: readonly StandingChange[],
): Promise<void> {
  if (changes.length === 0) return;
  const ids = changes.map(({ gatewayId }) => gatewayId);
  await sql`INSERT INTO gateway_standings (cohort, gateway_id)
    SELECT ${cohort}, g FROM unnest(${ids}::text[]) AS g ON CONFLICT DO NOTHING`.execute(trx);
  const { rows } = await sql<{ gateway_id: string }>`
    UPDATE gateway_standings s
    SET standing = u.standing, rounds_apart = u.apart, reason = u.reason,
        changed_at = CASE WHEN s.standing = u.standing THEN s.changed_at ELSE now() END
    FROM unnest(${ids}::text[], ${changes.map(({ before }) => before.value)}::float8[],
                ${changes.map(({ after }) => after.value)}::float8[],
                ${changes.map(({ after }) => after.roundsApart)}::int[],
                ${changes.map(({ after }) => after.reason)}::text[])
         AS u (gateway_id, was, standing, apart, reason)
    WHERE s.cohort = ${cohort} AND s.gateway_id = u.gateway_id AND s.standing = u.was
    RETURNING s.gateway_id`.execute(trx);
  const written = new Set(rows.map(({ gateway_id }) => gateway_id));
  for (const { gatewayId, before, after } of changes) {
    if (before.value === after.value || !written.has(gatewayId)) continue;
    await postgresAuditLog(trx).record({
      actor: "coordinator",
      action: "gateway.standing",
      subject: `cohort/${cohort}/gateway/${gatewayId}`,
      detail: { from: before.value, to: after.value, globalVersion, reason: after.reason },
    });
  }
}
