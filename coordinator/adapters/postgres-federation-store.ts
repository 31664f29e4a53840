// Cohorts, updates and rounds in PostgreSQL.
import { type Kysely, sql } from "kysely";
import {
  initialServerState,
  type ServerOptimiser,
  type ServerState,
} from "../../learning/aggregation/server-optimisers.ts";
import { decodeDelta } from "../../learning/codecs/codec.ts";
import type { GatewayStatistics } from "../../learning/fleet.ts";
import type { CohortId, PlanId } from "../../learning/ids.ts";
import { type Manifest, weightCount } from "../../learning/plan.ts";
import { QuantileSketch, SketchBytesError } from "../../learning/sketch.ts";
import { decodeBundle, PlanBundleError } from "../../proto/plan-bundle.ts";
import { decodeWeights } from "../../proto/weights.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { RoundUpdate } from "../core/combine-updates.ts";
import type { ModelStatus } from "../core/model-actions.ts";
import { roundCapacity } from "../core/round-capacity.ts";
import type { FederationStore } from "../ports/federation-store.ts";
import { activatePlan, leavePlans } from "./activate-plan.ts";
import { type InvitationRow, readInvitation } from "./postgres-invitations.ts";
import { recordRound } from "./record-round.ts";
import type { Tables } from "./tables.ts";

/** So that one gateway cannot crowd out the others of a round. */
const MAX_UPDATES_A_GATEWAY = 50;
/** Of decoded deltas that are read in one go. */
const READ_BYTES = 4 * 1024 * 1024;
const MAX_GATEWAYS_POOLED = 1000;
/** A gateway that learns tells anew every ten minutes: one silent for so long is gone, or its devices stand still. */
const STATISTICS_DAYS = 7;

export function postgresFederationStore(
  db: Kysely<Tables>,
  intake: Pick<FederationStore, "addUpdate" | "addRefusal">,
): FederationStore {
  return {
    defineCohort: (cohort, plan, federation, order) =>
      db.transaction().execute((trx) => activatePlan(trx, cohort, plan, federation, order)),

    leavePlans: (absentMs) => leavePlans(db, absentMs),

    loadCohorts: async (leftOut) => {
      const rows = await cohortRows(db).execute();
      return rows.flatMap((row) => {
        const state = cohortState(row);
        if (!(state instanceof PlanBundleError)) return [state];
        if (row.state === "active") leftOut?.(row.cohort as CohortId, row.plan_id as PlanId, state.message);
        return [];
      });
    },

    loadCohort: async (cohort, plan) => {
      const query = cohortRows(db).where("c.cohort", "=", cohort);
      const row = await (plan === undefined
        ? query.where("s.state", "=", "active")
        : query.where("s.plan_id", "=", plan)
      ).executeTakeFirst();
      const state = row && cohortState(row);
      return state === undefined || state instanceof PlanBundleError ? null : state;
    },

    loadPlans: async (cohort) => {
      const rows = await cohortRows(db).where("c.cohort", "=", cohort).execute();
      return rows.map(cohortState).filter((state) => !(state instanceof PlanBundleError)) as CohortState[];
    },

    revisions: async () => {
      const rows = await db.selectFrom("cohorts").select(["cohort", "revision"]).execute();
      return new Map(rows.map(({ cohort, revision }) => [cohort as CohortId, revision]));
    },

    planBundle: async (plan) => {
      const row = await db.selectFrom("plans").select("bundle").where("plan_id", "=", plan).executeTakeFirst();
      return row?.bundle ?? null;
    },

    addUpdate: intake.addUpdate,
    addRefusal: intake.addRefusal,

    openRound: async ({ cohort, planId }) => {
      const row = await db
        .selectFrom("local_models")
        .where("cohort", "=", cohort)
        .where("plan_id", "=", planId)
        .where("status", "in", ["accepted", "clipped"])
        .select(({ fn }) => [fn.countAll<number>().as("updates"), fn.min("created_at").as("opened")])
        .select(sql<number>`count(DISTINCT gateway_id)`.as("gateways"))
        .select(sql<Date | null>`(SELECT max(closed_at) FROM rounds WHERE cohort = ${cohort})`.as("lastRound"))
        .select(sql<Date>`now()`.as("now"))
        .executeTakeFirstOrThrow();
      const timeOf = (given: Date | null) => (given === null ? null : new Date(given).getTime());
      const [openedAtMs, lastRoundAtMs] = [timeOf(row.opened), timeOf(row.lastRound)];
      return { updates: row.updates, gateways: row.gateways, openedAtMs, lastRoundAtMs, nowMs: row.now.getTime() };
    },

    roundUpdates: async (state) => {
      const updates: RoundUpdate[] = [];
      const ids = await idsOfRound(db, state);
      const atOnce = Math.max(1, Math.floor(READ_BYTES / (4 * weightCount(state.manifest.weights))));
      for (let from = 0; from < ids.length; from += atOnce) {
        updates.push(...(await readUpdates(db, state, ids.slice(from, from + atOnce))));
      }
      return updates;
    },

    gatewayStatistics: async ({ cohort, planId }) => {
      const rows = await db
        .selectFrom("gateway_statistics")
        .select(["devices", "scales", "ratios"])
        .where("cohort", "=", cohort)
        .where("plan_id", "=", planId)
        .where("reported_at", ">", sql<Date>`now() - make_interval(days => ${STATISTICS_DAYS})`)
        .orderBy("reported_at", "desc")
        .orderBy("gateway_id")
        .limit(MAX_GATEWAYS_POOLED)
        .execute();
      return rows.map(
        ({ devices, scales, ratios }): GatewayStatistics => ({
          devices,
          scales: scales && Float64Array.from(scales),
          ratios: ratios && sketchOf(ratios),
        }),
      );
    },

    recordRound: (record) => db.transaction().execute((trx) => recordRound(trx, record)),
  };
}

function cohortRows(db: Kysely<Tables>) {
  return db
    .selectFrom("cohorts as c")
    .innerJoin("cohort_plans as s", "s.cohort", "c.cohort")
    .innerJoin("plans as p", "p.plan_id", "s.plan_id")
    .innerJoin("federated_models as m", (join) =>
      join.onRef("m.cohort", "=", "c.cohort").onRef("m.global_version", "=", "s.champion_version"),
    )
    .where("s.state", "<>", "left")
    .select(["c.cohort", "c.revision", "c.last_version", "s.plan_id", "s.state", "s.federation", "s.champion_version"])
    .select(["s.learning_rate_factor", "s.smoothed_quality", "s.smoothed_on", "p.bundle", "m.weights", "m.rule"])
    .select(["s.server_m", "s.server_v", "s.server_steps", "m.scales", "m.threshold_factor"])
    .select(["s.pinned_by", "s.pin_reason"])
    .select(({ selectFrom }) => [
      selectFrom("invitations as i")
        .whereRef("i.cohort", "=", "c.cohort")
        .whereRef("i.plan_id", "=", "s.plan_id")
        .select(sql<InvitationRow>`to_jsonb(i)`.as("i"))
        .as("invitation"),
    ])
    .select(
      sql<string[]>`ARRAY(SELECT o.plan_id FROM cohort_plans o WHERE o.cohort = c.cohort AND o.state = 'left')`.as(
        "left",
      ),
    )
    .select([versionsOf(["champion", "pinned"]).as("champions"), versionsOf(["rolled_back"]).as("rolled_back")])
    .orderBy("c.cohort")
    .orderBy("s.state");
}

/** Of the plan, ascending. */
function versionsOf(statuses: ModelStatus[]) {
  return sql<number[]>`(
    SELECT coalesce(array_agg(f.global_version::float8 ORDER BY f.global_version), '{}') FROM federated_models f
    WHERE f.cohort = c.cohort AND f.plan_id = s.plan_id AND f.status = ANY(${statuses}))`;
}

type CohortRow = Awaited<ReturnType<ReturnType<typeof cohortRows>["executeTakeFirstOrThrow"]>>;

function cohortState(row: CohortRow): CohortState | PlanBundleError {
  const planId = row.plan_id as PlanId;
  const manifest = manifestOf(row.bundle, planId);
  if (manifest instanceof PlanBundleError) return manifest;
  if (row.weights === null) throw new Error(`cohort ${row.cohort}: its champion has no weights`);
  return {
    cohort: row.cohort as CohortId,
    state: row.state === "active" ? "active" : "leaving",
    leftPlans: row.left as PlanId[],
    revision: row.revision,
    planId,
    manifest,
    federation: row.federation,
    champion: {
      version: row.champion_version,
      weights: decodeWeights(row.weights, weightCount(manifest.weights)),
      trained: row.rule !== "initial",
      fleet: { scales: row.scales && Float64Array.from(row.scales), thresholdFactor: row.threshold_factor },
    },
    pin: row.pinned_by === null ? null : { by: row.pinned_by, reason: row.pin_reason ?? "" },
    lastVersion: row.last_version,
    championVersions: row.champions,
    rolledBackVersions: row.rolled_back,
    rate: { factor: row.learning_rate_factor, smoothedQuality: row.smoothed_quality, measuredOn: row.smoothed_on },
    server: serverState(row.federation.optimiser, weightCount(manifest.weights), row),
    invitation: row.invitation && readInvitation(row.invitation),
  };
}

/** First every gateway's oldest, then every gateway's second and so on, as many as a round takes; in the order stored. */
async function idsOfRound(
  db: Kysely<Tables>,
  { cohort, planId, manifest, federation }: CohortState,
): Promise<number[]> {
  const rows = await db
    .with("open", (cte) =>
      cte
        .selectFrom("local_models")
        .select("id")
        .select(sql<number>`row_number() OVER (PARTITION BY gateway_id ORDER BY id)`.as("nth_of_gateway"))
        .where("cohort", "=", cohort)
        .where("plan_id", "=", planId)
        .where("status", "in", ["accepted", "clipped"]),
    )
    .selectFrom("open")
    .select("id")
    .where("nth_of_gateway", "<=", MAX_UPDATES_A_GATEWAY)
    .orderBy("nth_of_gateway")
    .orderBy("id")
    .limit(roundCapacity(federation.round, weightCount(manifest.weights)))
    .execute();
  return rows.map(({ id }) => id).toSorted((a, b) => a - b);
}

/** Those of the ids that are still open. */
async function readUpdates(
  db: Kysely<Tables>,
  { manifest }: CohortState,
  ids: readonly number[],
): Promise<RoundUpdate[]> {
  const rows = await db
    .selectFrom("local_models")
    .select(["update_id", "gateway_id", "global_version", "samples_processed", "created_at", "delta"])
    .where("id", "=", sql<number>`ANY(${ids}::bigint[])`)
    .where("status", "in", ["accepted", "clipped"])
    .orderBy("id")
    .execute();
  return rows.map((row) => ({
    updateId: row.update_id,
    gatewayId: row.gateway_id,
    baseVersion: row.global_version,
    samples: row.samples_processed,
    receivedAtMs: new Date(row.created_at).getTime(),
    delta: decodeDelta(manifest.training.codec, row.delta as Buffer, manifest.weights),
  }));
}

/** Or why it can't be had: an earlier or later version of FLEAD wrote the plan in another way. */
function manifestOf(bundle: Buffer, planId: PlanId): Manifest | PlanBundleError {
  try {
    return decodeBundle(bundle, planId).manifest;
  } catch (error) {
    if (error instanceof PlanBundleError) return error;
    throw error;
  }
}

/** Null when an earlier version wrote it in another way: the gateway will tell again. */
function sketchOf(bytes: Buffer): QuantileSketch | null {
  try {
    return QuantileSketch.deserialise(bytes);
  } catch (error) {
    if (error instanceof SketchBytesError) return null;
    throw error;
  }
}

/** An optimiser that was exchanged begins anew: the moments of another one mean nothing to it. */
function serverState(
  optimiser: ServerOptimiser,
  parameters: number,
  row: { server_m: Buffer | null; server_v: Buffer | null; server_steps: number },
): ServerState {
  const initial = initialServerState(optimiser, parameters);
  if (row.server_m === null || row.server_v === null) return initial;
  const [m, v] = [row.server_m, row.server_v].map((bytes) => decodeWeights(bytes, bytes.byteLength / 4));
  const fits = m?.length === initial.m.length && v?.length === initial.v.length;
  return fits ? { m, v, step: row.server_steps } : initial;
}
