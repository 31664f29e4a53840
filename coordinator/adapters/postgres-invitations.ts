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
    open: async ({ cohort, planId }) => {
      const query = db.selectFrom("invitations").selectAll().where("cohort", "=", cohort).where("plan_id", "=", planId);
      const row = await query.executeTakeFirst();
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
                .where("u.plan_id", "=", planId)
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
        const { cohort, planId, champion, federation } = before;
        const revision = await move(trx, before);
        await endInvitation(trx, before.cohort, before.planId);
        const row = await trx
          .insertInto("invitations")
          .values({
            cohort,
            plan_id: planId,
            round_id: sql<number>`nextval(pg_get_serial_sequence('rounds', 'round_id'))`,
            base_version: champion.version,
            gateways: [...gateways],
            wanted,
            deadline_at: sql<Date>`now() + make_interval(secs => ${federation.round.deadlineMs / 1000})`,
          })
          .returningAll()
          .executeTakeFirstOrThrow();
        await sql`INSERT INTO gateway_standings (cohort, gateway_id, last_invited_round)
          SELECT ${cohort}, g, ${row.round_id}::bigint FROM unnest(${row.gateways}::text[]) AS g
          ON CONFLICT (gateway_id, cohort) DO UPDATE SET last_invited_round = excluded.last_invited_round`.execute(trx);
        return { ...before, revision, invitation: readInvitation(row) };
      }),

    end: (before) =>
      db.transaction().execute(async (trx) => {
        const revision = await move(trx, before);
        await endInvitation(trx, before.cohort, before.planId);
        return { ...before, revision, invitation: null };
      }),
  };
}

/** As a row, or as JSON within another one. */
export type InvitationRow = Omit<Selectable<Tables["invitations"]>, "deadline_at"> & {
  readonly deadline_at: Date | string;
};

export function readInvitation(row: InvitationRow): Invitation {
  return {
    cohort: row.cohort as CohortId,
    roundId: row.round_id,
    baseVersion: row.base_version,
    gateways: row.gateways as GatewayId[],
    wanted: row.wanted,
    untilMs: new Date(row.deadline_at).getTime(),
  };
}

/** Gives the cohort its next revision, which all coordinators hear of. */
async function move(trx: Transaction<Tables>, { cohort, revision }: CohortState): Promise<number> {
  const moved = await trx
    .updateTable("cohorts")
    .set({ revision: sql<number>`revision` })
    .where("cohort", "=", cohort)
    .where("revision", "=", revision)
    .returning("revision")
    .executeTakeFirst();
  if (moved === undefined) throw new RoundConflictError(cohort, `the cohort is no longer at revision ${revision}`);
  return moved.revision;
}

/** To be called in a transaction that moves the cohort, of which no other can then change it. */
export async function endInvitation(trx: Transaction<Tables>, cohort: string, planId: string): Promise<void> {
  await trx.deleteFrom("invitations").where("cohort", "=", cohort).where("plan_id", "=", planId).execute();
}
