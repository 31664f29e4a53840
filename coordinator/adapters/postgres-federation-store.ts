// Cohorts, updates and rounds in PostgreSQL.
import { type Kysely, sql, type Transaction } from "kysely";
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
import { decodeWeights, encodeWeights } from "../../proto/weights.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { RoundUpdate } from "../core/combine-updates.ts";
import type { ModelStatus } from "../core/model-actions.ts";
import { roundCapacity } from "../core/round-capacity.ts";
import { type FederationStore, RoundConflictError, type RoundRecord } from "../ports/federation-store.ts";
import { activatePlan, leavePlans } from "./activate-plan.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import { recordStandings } from "./postgres-gateway-standings.ts";
import { endInvitation, type InvitationRow, readInvitation } from "./postgres-invitations.ts";
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

async function recordRound(trx: Transaction<Tables>, record: RoundRecord): Promise<void> {
  const { before, after, candidate, reason } = record;
  if (record.updates.length === 0) throw new RoundConflictError(before.cohort, "it has no updates");
  const moved = await trx
    .updateTable("cohorts")
    .set({ last_version: after.lastVersion })
    .where("cohort", "=", before.cohort)
    .where("revision", "=", before.revision)
    .executeTakeFirst();
  if (moved.numUpdatedRows !== 1n) {
    throw new RoundConflictError(before.cohort, `the cohort is no longer at revision ${before.revision}`);
  }
  await trx
    .updateTable("cohort_plans")
    .set({
      champion_version: after.champion.version,
      learning_rate_factor: after.rate.factor,
      smoothed_quality: after.rate.smoothedQuality,
      smoothed_on: after.rate.measuredOn,
      server_m: Buffer.from(encodeWeights(after.server.m)),
      server_v: Buffer.from(encodeWeights(after.server.v)),
      server_steps: after.server.step,
    })
    .where("cohort", "=", before.cohort)
    .where("plan_id", "=", before.planId)
    .execute();
  await endInvitation(trx, before.cohort, before.planId);
  const roundId = await insertRound(trx, record);
  await insertCandidate(trx, record, roundId);
  await countUpdates(trx, record, roundId);
  await insertEvaluation(trx, record);
  if (record.streams.length > 0) await insertStreamScores(trx, record);
  if (record.feedback.length > 0) await insertFeedback(trx, record);
  await recordStandings(trx, before.cohort, candidate.version, record.standings);
  const { factor } = before.rate;
  await auditFactor(trx, before.cohort, {
    from: factor,
    to: after.rate.factor,
    globalVersion: candidate.version,
    reason,
  });
}

interface FactorChange {
  readonly from: number;
  readonly to: number;
  readonly globalVersion: number;
  readonly reason: string;
}

async function auditFactor(trx: Transaction<Tables>, cohort: CohortId, change: FactorChange): Promise<void> {
  if (change.from === change.to) return;
  const action = "cohort.learning_rate_factor";
  await postgresAuditLog(trx).record({ actor: "coordinator", action, subject: `cohort/${cohort}`, detail: change });
}

const json = (value: object | null) => (value === null ? null : JSON.stringify(value));
const gatewaysOf = (record: RoundRecord) => new Set(record.updates.map((update) => update.gatewayId)).size;
const samplesOf = (record: RoundRecord) => record.updates.reduce((sum, update) => sum + update.samples, 0);

async function insertRound(trx: Transaction<Tables>, record: RoundRecord): Promise<number> {
  const { round_id } = await trx
    .insertInto("rounds")
    .values({
      ...(record.before.invitation && { round_id: record.before.invitation.roundId }),
      cohort: record.before.cohort,
      base_version: record.before.champion.version,
      global_version: record.candidate.version,
      rule: record.rule,
      verdict: record.verdict,
      reason: record.reason,
      updates: record.updates.length,
      gateways: gatewaysOf(record),
      samples: samplesOf(record),
      held_out: json(record.heldOut),
      champion_held_out: json(record.championHeldOut),
      baselines: json(record.baselines),
      learning_rate_factor: record.after.rate.factor,
      contributions: JSON.stringify(record.contributions),
      opened_at: new Date(Math.min(...record.updates.map((update) => update.receivedAtMs))),
    })
    .returning("round_id")
    .executeTakeFirstOrThrow();
  return round_id;
}

async function insertCandidate(trx: Transaction<Tables>, record: RoundRecord, roundId: number): Promise<void> {
  const { heldOut, before, candidate } = record;
  const { scales, thresholdFactor } = candidate.fleet;
  const correct = heldOut === null ? null : (heldOut.tp + heldOut.tn) / heldOut.n;
  await trx
    .insertInto("federated_models")
    .values({
      cohort: before.cohort,
      global_version: candidate.version,
      aggregation_round: roundId,
      plan_id: before.planId,
      num_devices: sql<number>`(SELECT coalesce(sum(jsonb_array_length(c -> 'devices')), 0)
        FROM gateways g, jsonb_array_elements(g.cohorts) c
        WHERE c ->> 'cohort' = ${before.cohort} AND g.gateway_id = ANY(${record.updates.map((u) => u.gatewayId)}))`,
      num_gateways: gatewaysOf(record),
      total_samples: samplesOf(record),
      rule: record.rule,
      weights: Buffer.from(encodeWeights(candidate.weights)),
      status: record.verdict === "promoted" ? "champion" : record.verdict,
      accuracy: correct,
      loss: heldOut?.loss ?? null,
      parent_version: before.champion.version,
      scales: scales && [...scales],
      threshold_factor: thresholdFactor,
    })
    .execute();
}

/** An update that is no longer open was counted by somebody else: then none of this round happened. */
async function countUpdates(trx: Transaction<Tables>, record: RoundRecord, roundId: number): Promise<void> {
  const { cohort } = record.before;
  const ids = record.contributions.map(({ updateId }) => updateId);
  const shares = record.contributions.map(({ share }) => share);
  const counted = await sql`
    UPDATE local_models m SET status = 'aggregated', round_id = ${roundId}, weight = u.share, delta = NULL
    FROM unnest(${ids}::text[], ${shares}::float8[]) AS u (update_id, share)
    WHERE m.update_id = u.update_id AND m.cohort = ${cohort} AND m.status IN ('accepted', 'clipped')`.execute(trx);
  if (Number(counted.numAffectedRows) !== ids.length) {
    throw new RoundConflictError(cohort, "some of its updates were counted before");
  }
}

async function insertEvaluation(trx: Transaction<Tables>, record: RoundRecord): Promise<void> {
  const rows = record.evaluatedRows;
  if (rows.length === 0) return;
  await sql`
    INSERT INTO model_evaluations (cohort, global_version, stream, device_id, row_index, prediction_result,
                                   actual_result, is_correct, score, threshold, confidence)
    SELECT ${record.before.cohort}, ${record.candidate.version}, e.stream, regexp_replace(e.stream, '^live/', ''),
           e.row_index, e.prediction, e.actual, e.prediction = e.actual, e.score, e.threshold, e.confidence
    FROM unnest(${rows.map((r) => r.stream)}::text[], ${rows.map((r) => r.rowIndex)}::int[],
                ${rows.map((r) => r.prediction)}::smallint[], ${rows.map((r) => r.actual)}::smallint[],
                ${rows.map((r) => r.score)}::float8[], ${rows.map((r) => r.threshold)}::float8[],
                ${rows.map((r) => r.confidence)}::float8[])
         AS e (stream, row_index, prediction, actual, score, threshold, confidence)`.execute(trx);
}

async function insertStreamScores(trx: Transaction<Tables>, record: RoundRecord): Promise<void> {
  await trx
    .insertInto("evaluation_scores")
    .values(
      record.streams.map(({ stream, sha256, scores, champion, baselines }) => ({
        cohort: record.before.cohort,
        global_version: record.candidate.version,
        stream,
        sha256,
        scores: JSON.stringify(scores),
        champion_scores: json(champion),
        baselines: json(baselines),
      })),
    )
    .execute();
}

async function insertFeedback(trx: Transaction<Tables>, record: RoundRecord): Promise<void> {
  await trx
    .insertInto("model_feedback")
    .values(
      record.feedback.map((feedback) => ({
        cohort: feedback.cohort,
        global_version: feedback.version,
        gateway_id: feedback.gatewayId,
        promoted: feedback.promoted,
        learning_rate_factor: feedback.factor,
        loss: feedback.lossAfter,
        loss_before: feedback.lossBefore,
        trend: feedback.trend,
        agreement: feedback.agreement,
        reason: feedback.reason,
      })),
    )
    .execute();
}
