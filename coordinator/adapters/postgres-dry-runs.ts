// Dry runs in PostgreSQL.
import { type Kysely, sql } from "kysely";
import type { PlanId } from "../../learning/ids.ts";
import type { DryRunReport } from "../core/dry-run.ts";
import { frozenSet, type StreamRevision } from "../core/held-out.ts";
import { type DryRun, DryRunBusyError, type DryRunOrder, type DryRuns } from "../ports/dry-runs.ts";
import type { HeldOutStreams } from "../ports/held-out-streams.ts";
import { answered } from "./pages.ts";
import { tryPlan } from "./plan-dry-run.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

/** Of a plan and cohort. */
const KEPT_RUNS = 20;

/** Each run ends within about `maxMs`. */
export function postgresDryRuns(
  db: Kysely<Tables>,
  heldOut: Pick<HeldOutStreams, "frozen" | "content">,
  maxMs: number,
): DryRuns {
  let running = false;
  const run = async (order: DryRunOrder, signal: AbortSignal) => {
    const frozen = await heldOut.frozen(order.cohort);
    const report = await tryPlan({ db, heldOut }, order, frozen, { signal, maxMs });
    return answered(keep(db, order, setOf(frozen), report));
  };
  return {
    run: async (order, signal) => {
      if (running) throw new DryRunBusyError();
      running = true;
      return run(order, signal).finally(() => {
        running = false;
      });
    },

    ofPlan: async (plan) => (await answered(dryRunRows(db, plan).execute())).map(dryRunOf),

    one: async (plan, dryRunId) => {
      const row = await answered(dryRunRows(db, plan).where("dry_run_id", "=", dryRunId).executeTakeFirst());
      return row === undefined ? null : dryRunOf(row);
    },

    standing: async ({ cohort, planId }) => {
      const set = setOf(await heldOut.frozen(cohort));
      const row = await answered(
        dryRunRows(db, planId)
          .where("cohort", "=", cohort)
          .where(sql<boolean>`set IS NOT DISTINCT FROM ${set}`)
          .executeTakeFirst(),
      );
      return row === undefined ? null : dryRunOf(row);
    },
  };
}

const setOf = (frozen: readonly StreamRevision[]) => (frozen.length === 0 ? null : frozenSet(frozen));

const dryRunRows = (db: Kysely<Tables>, plan: PlanId) =>
  db.selectFrom("plan_dry_runs").selectAll().where("plan_id", "=", plan).orderBy("dry_run_id", "desc");

type Row = Awaited<ReturnType<ReturnType<typeof dryRunRows>["executeTakeFirstOrThrow"]>>;

const dryRunOf = ({ dry_run_id, plan_id, cohort, set, passed, report, actor, created_at }: Row): DryRun => ({
  ...report,
  dryRunId: dry_run_id,
  planId: plan_id,
  cohort,
  set,
  passed,
  actor,
  createdAt: created_at.toISOString(),
});

/** With its audit row; the oldest ones beyond those that are kept go. */
function keep(
  db: Kysely<Tables>,
  { planId, cohort, actor }: DryRunOrder,
  set: string | null,
  report: DryRunReport,
): Promise<DryRun> {
  return db.transaction().execute(async (trx) => {
    const { passed } = report;
    const row = await trx
      .insertInto("plan_dry_runs")
      .values({ plan_id: planId, cohort, set, passed, report: JSON.stringify(report), actor })
      .returningAll()
      .executeTakeFirstOrThrow();
    await sql`DELETE FROM plan_dry_runs WHERE dry_run_id IN (
      SELECT dry_run_id FROM plan_dry_runs WHERE plan_id = ${planId} AND cohort = ${cohort}
      ORDER BY dry_run_id DESC OFFSET ${KEPT_RUNS})`.execute(trx);
    await postgresAuditLog(trx).record({
      actor,
      action: "plan.dry_run",
      subject: `cohort/${cohort}/plan/${planId}`,
      detail: { dryRunId: row.dry_run_id, passed, set },
    });
    return dryRunOf(row);
  });
}
