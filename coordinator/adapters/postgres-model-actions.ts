// What an operator does with versions, in PostgreSQL: one transaction that holds the cohort's row.
import { type Kysely, sql, type Transaction } from "kysely";
import type { CohortId } from "../../learning/ids.ts";
import {
  type ChampionStanding,
  type Pin,
  refusalOfChange,
  refusalOfPin,
  type TargetStanding,
} from "../core/model-actions.ts";
import {
  ModelActionRefusedError,
  type ModelActions,
  type ModelOrder,
  type Standing,
  UnknownModelError,
} from "../ports/model-actions.ts";
import { weightsState } from "./model-rows.ts";
import { answered } from "./pages.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import { ArchiveDamagedError, weightsOf } from "./postgres-model-archive.ts";
import type { Tables } from "./tables.ts";

export function postgresModelActions(db: Kysely<Tables>): ModelActions {
  return { act: (order) => answered(db.transaction().execute((trx) => act(trx, order))) };
}

async function act(trx: Transaction<Tables>, order: ModelOrder): Promise<Standing> {
  const { cohort, action, actor, reason, expectedChampion } = order;
  const before = await lockCohort(trx, cohort);
  if (expectedChampion !== null && expectedChampion !== before.version) {
    throw new ModelActionRefusedError(`the champion is version ${before.version} by now, not ${expectedChampion}`);
  }
  const after =
    "version" in action
      ? await changeChampion(trx, order, action, before)
      : await changePin(trx, order, action.kind, before);
  await postgresAuditLog(trx).record({
    actor,
    action: `model.${action.kind}`,
    subject: `cohort/${cohort}/version/${after.championVersion}`,
    detail: { reason, championBefore: before.version, ...action, championAfter: after.championVersion },
  });
  return after;
}

interface LockedCohort extends ChampionStanding {
  readonly lastVersion: number;
}

/** Until the transaction ends no round is recorded, and nobody else acts. */
async function lockCohort(trx: Transaction<Tables>, cohort: CohortId): Promise<LockedCohort> {
  const locked = await trx
    .selectFrom("cohorts")
    .select("last_version")
    .where("cohort", "=", cohort)
    .forUpdate()
    .executeTakeFirst();
  if (locked === undefined) throw new UnknownModelError(cohort);
  // A statement of its own: one that waits for the lock would read the other table as it was before.
  const row = await trx
    .selectFrom("cohort_plans")
    .select(["plan_id", "champion_version", "pinned_by", "pin_reason"])
    .where("cohort", "=", cohort)
    .where("state", "=", "active")
    .executeTakeFirstOrThrow();
  const champion = await standingOf(trx, cohort, row.champion_version);
  return {
    planId: row.plan_id,
    version: row.champion_version,
    origin: champion.origin,
    pin: row.pinned_by === null ? null : { by: row.pinned_by, reason: row.pin_reason ?? "" },
    lastVersion: locked.last_version,
  };
}

async function standingOf(trx: Transaction<Tables>, cohort: CohortId, version: number): Promise<TargetStanding> {
  const row = await trx
    .selectFrom("federated_models as m")
    .select(["m.plan_id", "m.origin_version", "m.status", weightsState.as("weights")])
    .where("m.cohort", "=", cohort)
    .where("m.global_version", "=", version)
    .executeTakeFirst();
  if (row === undefined) throw new UnknownModelError(cohort, version);
  const { plan_id: planId, origin_version, status, weights } = row;
  return { planId, version, origin: origin_version ?? version, status, weights };
}

/** Gives the cohort its next revision, which all coordinators hear of. */
async function move(trx: Transaction<Tables>, cohort: CohortId, lastVersion: number): Promise<void> {
  await trx.updateTable("cohorts").set({ last_version: lastVersion }).where("cohort", "=", cohort).execute();
}

const activePlan = (trx: Transaction<Tables>, cohort: CohortId) =>
  trx.updateTable("cohort_plans").where("cohort", "=", cohort).where("state", "=", "active");

async function changePin(
  trx: Transaction<Tables>,
  { cohort, actor, reason }: ModelOrder,
  kind: "pin" | "unpin",
  champion: LockedCohort,
): Promise<Standing> {
  refuse(refusalOfPin(kind, champion));
  const pin: Pin | null = kind === "pin" ? { by: actor, reason } : null;
  await move(trx, cohort, champion.lastVersion);
  await activePlan(trx, cohort)
    .set({
      pinned_by: pin?.by ?? null,
      pin_reason: pin?.reason ?? null,
      pinned_at: pin === null ? null : sql<Date>`now()`,
    })
    .execute();
  await trx
    .updateTable("federated_models")
    .set({ status: pin === null ? "champion" : "pinned" })
    .where("cohort", "=", cohort)
    .where("global_version", "=", champion.version)
    .execute();
  return { cohort, championVersion: champion.version, pin };
}

/**
 * The server optimiser and the smoothed quality begin anew: both remember the way to the champion that is left. The
 * learning-rate factor stays.
 */
async function changeChampion(
  trx: Transaction<Tables>,
  order: ModelOrder,
  { kind, version }: { readonly kind: "promote" | "roll_back"; readonly version: number },
  champion: LockedCohort,
): Promise<Standing> {
  const { cohort } = order;
  const target = await standingOf(trx, cohort, version);
  refuse(refusalOfChange(kind, champion, target));
  const championVersion = champion.lastVersion + 1;
  await move(trx, cohort, championVersion);
  await activePlan(trx, cohort)
    .set({
      champion_version: championVersion,
      smoothed_quality: null,
      server_m: null,
      server_v: null,
      server_steps: 0,
    })
    .execute();
  await insertVersion(trx, order, target, { version: championVersion, parent: champion.version });
  if (kind === "roll_back") await abandon(trx, cohort, target);
  return { cohort, championVersion, pin: null };
}

/** Nothing new was learned or evaluated for it: the counts and scores are those of its origin, and stay there. */
async function insertVersion(
  trx: Transaction<Tables>,
  { cohort, actor, reason }: ModelOrder,
  target: TargetStanding,
  made: { readonly version: number; readonly parent: number },
): Promise<void> {
  const weights = await weightsOf(trx, cohort, target.version).catch((error: Error) => {
    throw error instanceof ArchiveDamagedError ? new ModelActionRefusedError(error.message) : error;
  });
  if (weights === null) throw new ModelActionRefusedError(`version ${target.version} has no weights`);
  const { rule, scales, threshold_factor } = await trx
    .selectFrom("federated_models")
    .select(["rule", "scales", "threshold_factor"])
    .where("cohort", "=", cohort)
    .where("global_version", "=", target.version)
    .executeTakeFirstOrThrow();
  await trx
    .insertInto("federated_models")
    .values({
      cohort,
      global_version: made.version,
      plan_id: target.planId,
      num_devices: 0,
      num_gateways: 0,
      total_samples: 0,
      rule,
      weights,
      status: "champion",
      parent_version: made.parent,
      origin_version: target.origin,
      scales,
      threshold_factor,
      actor,
      reason,
    })
    .execute();
}

/** The champions since then that do not have its weights, and what was learned from them but not counted yet. */
async function abandon(trx: Transaction<Tables>, cohort: CohortId, target: TargetStanding): Promise<void> {
  await sql`
    UPDATE federated_models SET status = 'rolled_back'
    WHERE cohort = ${cohort} AND plan_id = ${target.planId} AND status = 'champion'
      AND global_version > ${target.version} AND coalesce(origin_version, global_version) <> ${target.origin}`.execute(
    trx,
  );
  await sql`
    UPDATE local_models SET status = 'refused', delta = NULL,
           reason = format('rolled_back_base: base version %s was rolled back', global_version)
    WHERE cohort = ${cohort} AND status IN ('accepted', 'clipped')
      AND global_version IN (SELECT m.global_version FROM federated_models m
                             WHERE m.cohort = ${cohort} AND m.plan_id = ${target.planId} AND m.status = 'rolled_back')`.execute(
    trx,
  );
}

function refuse(why: string | null): void {
  if (why !== null) throw new ModelActionRefusedError(why);
}
