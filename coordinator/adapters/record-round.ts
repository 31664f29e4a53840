// What a round came to, written in one transaction: the cohort moves on, its updates are counted, its candidate is measured.
import { sql, type Transaction } from "kysely";
import type { CohortId } from "../../learning/ids.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { RoundConflictError, type RoundRecord } from "../ports/federation-store.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import { recordStandings } from "./postgres-gateway-standings.ts";
import { endInvitation } from "./postgres-invitations.ts";
import type { Tables } from "./tables.ts";

/** All of a round or, with RoundConflictError, nothing of it: `trx` is rolled back by whoever began it. */
export async function recordRound(trx: Transaction<Tables>, record: RoundRecord): Promise<void> {
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
