// Plans as operators upload and activate them, in PostgreSQL.
import { type Kysely, type SqlBool, sql } from "kysely";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type PlanId, planId } from "../../learning/ids.ts";
import type { FederationSettings, Manifest } from "../../learning/plan.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import type { CohortState } from "../core/cohort-state.ts";
import { type DryRuns, NotTriedError } from "../ports/dry-runs.ts";
import type { DryRunProof, FederationStore, PlanDefinition } from "../ports/federation-store.ts";
import { type PlanItem, type PlanOrder, type Plans, UnknownPlanError, UnusablePlanError } from "../ports/plans.ts";
import { insertPlan } from "./activate-plan.ts";
import { parseCohortFile, parseFederation } from "./cohort-file.ts";
import { ALL, answered, microseconds, olderThan, page } from "./pages.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

type Store = Pick<FederationStore, "defineCohort" | "loadPlans" | "planBundle">;

export function postgresPlans(db: Kysely<Tables>, store: Store, dryRuns: Pick<DryRuns, "standing">): Plans {
  return {
    upload: async (yaml, actor) => {
      const { cohort, federation, plan } = usable(() => parseCohortFile(yaml));
      const definition = usable(() => definePlan(plan));
      const { planId: id, bundle } = definition;
      await answered(
        db.transaction().execute(async (trx) => {
          const isNew = await insertPlan(trx, definition);
          const entry = { actor, action: "plan.upload", subject: `plan/${id}`, detail: { bytes: bundle.byteLength } };
          if (isNew) await postgresAuditLog(trx).record(entry);
        }),
      );
      return { planId: id, cohort, federation, bundleBytes: bundle.byteLength };
    },

    list: async ({ limit, after }) => {
      const older = after === null ? ALL : olderThan("p.created_at", ["p.plan_id"], after.atUs, [after.id]);
      const rows = await answered(
        planRows(db)
          .where(older)
          .limit(limit + 1)
          .execute(),
      );
      return page(rows, limit, planItem, (row) => ({ atUs: row.at_us, id: row.plan_id }));
    },

    get: async (plan) => {
      const row = await answered(planRows(db).where("p.plan_id", "=", plan).executeTakeFirst());
      return row === undefined ? null : { ...planItem(row), manifest: row.manifest };
    },

    activate: async (asked) => {
      const { cohort, planId: plan, leaveAfterMs, actor, reason } = asked;
      const bundle = await answered(store.planBundle(plan));
      if (bundle === null) throw new UnknownPlanError(plan);
      const definition = usable(() => ({ bundle, ...decodeBundle(bundle, plan) }));
      const before = (await answered(store.loadPlans(cohort))).find(({ state }) => state === "active");
      const settings = settingsOf(before, definition.manifest, asked.federation);
      const dryRun = before?.planId === plan ? "same_plan" : await proofFor(asked, dryRuns);
      const order = { actor, reason, leaveAfterMs, dryRun, again: true };
      await answered(store.defineCohort(cohort, definition, settings, order));
      const [active, leaving] = await answered(store.loadPlans(cohort));
      if (active === undefined) throw new UnknownPlanError(plan);
      return {
        cohort,
        planId: active.planId,
        championVersion: active.champion.version,
        leaving: leaving?.planId ?? null,
      };
    },
  };
}

/** Throws ModelError if the model does not fit the features. */
export function definePlan(settings: Parameters<typeof compilePlan>[0]): PlanDefinition {
  const compiled = compilePlan(settings);
  const { planId: id, bytes } = encodeBundle(compiled);
  return { planId: id, bundle: bytes, manifest: compiled.manifest, initialWeights: compiled.initialWeights };
}

/** Settings that stay must fit the plan, too: a forest's trees are pooled, and nothing else is. */
function settingsOf(active: CohortState | undefined, manifest: Manifest, given: unknown): FederationSettings {
  return usable(() => parseFederation(manifest, given ?? active?.federation ?? {}));
}

async function proofFor(order: PlanOrder, dryRuns: Pick<DryRuns, "standing">): Promise<DryRunProof> {
  if (order.force) return "forced";
  const last = await dryRuns.standing(order);
  if (!last?.passed) throw new NotTriedError(order.cohort, order.planId, last);
  return last.dryRunId;
}

function usable<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw new UnusablePlanError((error as Error).message, error);
  }
}

/** Of a row of cohort_plans: how many gateways that were seen in the last day hold the plan by their last word. */
export const gatewaysHolding = (row: string) => sql<number>`(
  SELECT count(*) FROM gateways g WHERE g.last_seen_at > now() - interval '1 day' AND g.cohorts @> jsonb_build_array(
    jsonb_build_object('cohort', ${sql.ref(`${row}.cohort`)}, 'planId', ${sql.ref(`${row}.plan_id`)})))`;

function planRows(db: Kysely<Tables>) {
  return db
    .selectFrom("plans as p")
    .select(["p.plan_id", "p.manifest", "p.created_at", microseconds("p.created_at")])
    .select(sql<number>`octet_length(p.bundle)`.as("bytes"))
    .select((eb) => [
      eb
        .selectFrom("cohort_plans as c")
        .whereRef("c.plan_id", "=", "p.plan_id")
        .select(
          sql<PlanItem["cohorts"]>`coalesce(jsonb_agg(jsonb_build_object(
            'cohort', c.cohort, 'state', c.state, 'championVersion', c.champion_version,
            'federation', c.federation,
            'activatedAt', c.activated_at, 'leaveBy', c.leave_by,
            'gateways', ${gatewaysHolding("c")}
          ) ORDER BY c.cohort), '[]')`.as("cohorts"),
        )
        .as("cohorts"),
    ])
    .where(sql<SqlBool>`true`)
    .orderBy("p.created_at", "desc")
    .orderBy("p.plan_id", "desc");
}

type PlanRow = Awaited<ReturnType<ReturnType<typeof planRows>["executeTakeFirstOrThrow"]>>;

function planItem({ plan_id, manifest, bytes, created_at, cohorts }: PlanRow): PlanItem {
  const utc = (at: string | null) => at && new Date(at).toISOString();
  return {
    planId: planId(plan_id) satisfies PlanId,
    model: manifest.model?.kind ?? "unknown",
    channels: (manifest.channels ?? []).map(({ name }) => name),
    bundleBytes: bytes,
    createdAt: created_at.toISOString(),
    cohorts: (cohorts ?? []).map((each) => ({
      ...each,
      activatedAt: new Date(each.activatedAt).toISOString(),
      leaveBy: utc(each.leaveBy),
    })),
  };
}
