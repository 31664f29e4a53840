// A cohort takes up a plan and leaves another, in PostgreSQL. Who changes a plan of a cohort holds the cohort's row first.
import { type Kysely, type SqlBool, sql, type Transaction } from "kysely";
import type { CohortId, PlanId } from "../../learning/ids.ts";
import type { FederationSettings } from "../../learning/plan.ts";
import { encodeWeights } from "../../proto/weights.ts";
import type { ActivationOrder, PlanDefinition } from "../ports/federation-store.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import { endInvitation } from "./postgres-invitations.ts";
import type { Tables } from "./tables.ts";

type Trx = Transaction<Tables>;

/** The plan a cohort has is kept, with its settings brought up to date; one it had before goes on where it was left. */
export async function activatePlan(
  trx: Trx,
  cohort: CohortId,
  plan: PlanDefinition,
  federation: FederationSettings,
  order: ActivationOrder,
): Promise<PlanId> {
  await insertPlan(trx, plan);
  const lastVersion = await lockCohort(trx, cohort);
  const known = await plansOf(trx, cohort);
  const active = known.find(({ state }) => state === "active") ?? null;
  const target = known.find(({ plan_id }) => plan_id === plan.planId);
  if (!order.again && active !== null && target !== undefined && target !== active) return active.plan_id as PlanId;
  if (active !== null && active.plan_id !== plan.planId) {
    const other = known.find(({ state, plan_id }) => state === "leaving" && plan_id !== plan.planId);
    if (other !== undefined) await leave(trx, cohort, other.plan_id, "the cohort leaves a newer plan");
  }
  if (target === undefined) await beginPlan(trx, cohort, plan, federation, lastVersion);
  await swap(trx, cohort, plan.planId, federation, active?.plan_id ?? null, order.leaveAfterMs);
  const version = target === undefined ? lastVersion + 1 : lastVersion;
  await trx.updateTable("cohorts").set({ last_version: version }).where("cohort", "=", cohort).execute();
  if (active?.plan_id === plan.planId) return plan.planId;
  await postgresAuditLog(trx).record({
    actor: order.actor,
    action: "plan.activate",
    subject: `cohort/${cohort}/plan/${plan.planId}`,
    detail: {
      reason: order.reason,
      planBefore: active?.plan_id ?? null,
      leaveAfterMs: order.leaveAfterMs,
      dryRun: order.dryRun,
    },
  });
  return plan.planId;
}

/**
 * Leaves each plan that is due: past its deadline, or held by no gateway that was seen in the last `absentMs`. Gives how
 * many. Updates of a plan that was left, which another replica may have let in since, are refused with it.
 */
export async function leavePlans(db: Kysely<Tables>, absentMs: number): Promise<number> {
  const due = await dueToLeave(db, absentMs).execute();
  let left = 0;
  for (const { cohort, plan_id, overdue } of due) {
    await db.transaction().execute(async (trx) => {
      await lockCohort(trx, cohort as CohortId);
      const still = await dueToLeave(trx, absentMs)
        .where("p.cohort", "=", cohort)
        .where("p.plan_id", "=", plan_id)
        .execute();
      if (still.length === 0) return;
      await leave(trx, cohort as CohortId, plan_id, overdue ? "its deadline came" : "no gateway holds it any more");
      await trx.updateTable("cohorts").set({ revision: sql<number>`revision` }).where("cohort", "=", cohort).execute();
      left++;
    });
  }
  await refuseUpdatesOfLeft(db);
  return left;
}

function dueToLeave(db: Kysely<Tables>, absentMs: number) {
  const overdue = sql<SqlBool>`p.leave_by <= now()`;
  return db
    .selectFrom("cohort_plans as p")
    .select(["p.cohort", "p.plan_id", overdue.as("overdue")])
    .where("p.state", "=", "leaving")
    .where(({ or }) =>
      or([
        overdue,
        sql<SqlBool>`NOT EXISTS (SELECT FROM gateways g
          WHERE g.last_seen_at > now() - make_interval(secs => ${absentMs / 1000})
            AND g.cohorts @> jsonb_build_array(jsonb_build_object('cohort', p.cohort, 'planId', p.plan_id)))`,
      ]),
    );
}

/** Makes the cohort where there is none; gives its last version, 0 of a new one. */
async function lockCohort(trx: Trx, cohort: CohortId): Promise<number> {
  await trx
    .insertInto("cohorts")
    .values({ cohort, last_version: 0 })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const query = trx.selectFrom("cohorts").select("last_version").where("cohort", "=", cohort).forUpdate();
  return (await query.executeTakeFirstOrThrow()).last_version;
}

const plansOf = (trx: Trx, cohort: CohortId) =>
  trx.selectFrom("cohort_plans").select(["plan_id", "state"]).where("cohort", "=", cohort).execute();

/** False: it is there already. */
export async function insertPlan(trx: Trx, plan: PlanDefinition): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto("plans")
    .values({ plan_id: plan.planId, manifest: JSON.stringify(plan.manifest), bundle: Buffer.from(plan.bundle) })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirstOrThrow();
  return numInsertedOrUpdatedRows === 1n;
}

/** Another plan means other weights: it starts from its own initial ones. */
async function beginPlan(
  trx: Trx,
  cohort: CohortId,
  plan: PlanDefinition,
  federation: FederationSettings,
  lastVersion: number,
): Promise<void> {
  const version = lastVersion + 1;
  await trx
    .insertInto("cohort_plans")
    .values({
      cohort,
      plan_id: plan.planId,
      state: "left",
      federation: JSON.stringify(federation),
      champion_version: version,
    })
    .execute();
  await trx
    .insertInto("federated_models")
    .values({
      cohort,
      global_version: version,
      plan_id: plan.planId,
      num_devices: 0,
      num_gateways: 0,
      total_samples: 0,
      rule: "initial",
      weights: Buffer.from(encodeWeights(plan.initialWeights)),
      status: "champion",
      parent_version: lastVersion === 0 ? null : lastVersion,
    })
    .execute();
}

/** One after the other: at most one row of a cohort is active and at most one is leaving, at every moment. */
async function swap(
  trx: Trx,
  cohort: CohortId,
  to: string,
  federation: FederationSettings,
  from: string | null,
  leaveAfterMs: number,
): Promise<void> {
  const rowOf = (plan: string) =>
    trx.updateTable("cohort_plans").where("cohort", "=", cohort).where("plan_id", "=", plan);
  if (from !== to) await rowOf(to).set({ state: "left", leave_by: null, activated_at: sql<Date>`now()` }).execute();
  if (from !== null && from !== to) {
    const leaveBy = sql<Date>`now() + make_interval(secs => ${leaveAfterMs / 1000})`;
    await rowOf(from).set({ state: "leaving", leave_by: leaveBy }).execute();
  }
  await rowOf(to)
    .set({ state: "active", federation: JSON.stringify(federation) })
    .execute();
}

async function leave(trx: Trx, cohort: CohortId, plan: string, reason: string): Promise<void> {
  await trx
    .updateTable("cohort_plans")
    .set({ state: "left", leave_by: null })
    .where("cohort", "=", cohort)
    .where("plan_id", "=", plan)
    .execute();
  await endInvitation(trx, cohort, plan);
  await refuseUpdatesOfLeft(trx);
  await postgresAuditLog(trx).record({
    actor: "coordinator",
    action: "plan.leave",
    subject: `cohort/${cohort}/plan/${plan}`,
    detail: { reason },
  });
}

async function refuseUpdatesOfLeft(db: Kysely<Tables>): Promise<void> {
  await sql`
    UPDATE local_models u SET status = 'refused', reason = 'plan_left: the cohort has left its plan', delta = NULL
    FROM cohort_plans p
    WHERE p.cohort = u.cohort AND p.plan_id = u.plan_id AND p.state = 'left' AND u.status IN ('accepted', 'clipped')`.execute(
    db,
  );
}
