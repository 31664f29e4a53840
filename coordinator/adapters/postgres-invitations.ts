// Invitations in PostgreSQL: one row a cohort while a synchronous round is open.
import { type Kysely, type Selectable, type SqlBool, sql, type Transaction } from "kysely";
import type { CohortId, GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { Invitation } from "../core/invitation.ts";
import { RoundConflictError } from "../ports/federation-store.ts";
import type { Invitations } from "../ports/invitations.ts";
import type { Tables } from "./tables.ts";

const MAX_READY = 10_000;

export function postgresInvitations(db: Kysely<Tables>): Invitations {
  return {
    open: async (cohort) => {
      const row = await db.selectFrom("invitations").selectAll().where("cohort", "=", cohort).executeTakeFirst();
      return row === undefined ? null : readInvitation(row);
    },

    ready: async ({ cohort, planId }) => {
      const rows = await db
        .selectFrom("gateways as g")
        .leftJoin("gateway_standings as s", (join) =>
          join.onRef("s.gateway_id", "=", "g.gateway_id").on("s.cohort", "=", cohort),
        )
        .select(["g.gateway_id", "s.last_invited_round"])
        .where("g.connected", "=", true)
        .where(sql<SqlBool>`g.cohorts @> ${JSON.stringify([{ cohort, planId }])}::jsonb`)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom("local_models as u")
                .select("u.id")
                .whereRef("u.gateway_id", "=", "g.gateway_id")
                .where("u.cohort", "=", cohort)
                .where("u.status", "in", ["accepted", "clipped"]),
            ),
          ),
        )
        .orderBy("s.last_invited_round", (order) => order.asc().nullsFirst())
        .orderBy("g.gateway_id")
        .limit(MAX_READY)
        .execute();
      return rows.map((row) => ({
        gatewayId: row.gateway_id as GatewayId,
        lastInvitedRound: row.last_invited_round,
      }));
    },

    invite: (before, gateways, wanted) =>
      db.transaction().execute(async (trx) => {
        await stillAt(trx, before);
        await endInvitation(trx, before);
        const { cohort, champion, federation } = before;
        const row = await trx
          .insertInto("invitations")
          .values({
            cohort,
            round_id: sql<number>`nextval(pg_get_serial_sequence('rounds', 'round_id'))`,
            base_version: champion.version,
            gateways: [...gateways],
            wanted,
            deadline_at: sql<Date>`now() + make_interval(secs => ${federation.round.deadlineMs / 1000})`,
          })
          .onConflict((conflict) => conflict.doNothing())
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) throw new RoundConflictError(cohort, "gateways were invited by somebody else");
        await sql`INSERT INTO gateway_standings (cohort, gateway_id, last_invited_round)
          SELECT ${cohort}, g, ${row.round_id}::bigint FROM unnest(${row.gateways}::text[]) AS g
          ON CONFLICT (gateway_id, cohort) DO UPDATE SET last_invited_round = excluded.last_invited_round`.execute(trx);
        return readInvitation(row);
      }),

    end: (before) =>
      db.transaction().execute(async (trx) => {
        await stillAt(trx, before);
        await endInvitation(trx, before);
      }),
  };
}

export function readInvitation(row: Selectable<Tables["invitations"]>): Invitation {
  return {
    cohort: row.cohort as CohortId,
    roundId: row.round_id,
    baseVersion: row.base_version,
    gateways: row.gateways as GatewayId[],
    wanted: row.wanted,
    untilMs: new Date(row.deadline_at).getTime(),
  };
}

/** Locks the cohort, so that neither a round nor a plan comes in between. */
async function stillAt(trx: Transaction<Tables>, { cohort, planId, lastVersion }: CohortState): Promise<void> {
  const row = await trx
    .selectFrom("cohorts")
    .select("cohort")
    .where("cohort", "=", cohort)
    .where("plan_id", "=", planId)
    .where("last_version", "=", lastVersion)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) throw new RoundConflictError(cohort, `the cohort is no longer at version ${lastVersion}`);
}

/** Ends the cohort's invitation, if it has one. */
export async function endInvitation(trx: Transaction<Tables>, { cohort, invitation }: CohortState): Promise<void> {
  if (invitation === null) return;
  const { roundId } = invitation;
  const ended = await trx
    .deleteFrom("invitations")
    .where("cohort", "=", cohort)
    .where("round_id", "=", roundId)
    .executeTakeFirst();
  if (ended.numDeletedRows !== 1n) throw new RoundConflictError(cohort, `round ${roundId} is no longer open`);
}
