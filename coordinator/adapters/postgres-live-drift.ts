// How the champion fares on live streams, in PostgreSQL.
import { type Kysely, sql, type Transaction } from "kysely";
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import { liveStreamName } from "../core/live-stream.ts";
import type { DriftItem, DueAction, LiveDriftStore } from "../ports/live-drift.ts";
import { UnknownModelError } from "../ports/model-actions.ts";
import { answered } from "./pages.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

const ACTOR = "coordinator";
const MAX_DUE = 100;
/** Champions that were rolled back one after the other. */
const MAX_LINE = 1_000;

const subject = (cohort: string, device: string) => `cohort/${cohort}/${liveStreamName(device)}`;

export function postgresLiveDrift(db: Kysely<Tables>): LiveDriftStore {
  return {
    of: async (cohort, device) => {
      const row = await db
        .selectFrom("live_drift")
        .selectAll()
        .where("cohort", "=", cohort)
        .where("device_id", "=", device)
        .executeTakeFirst();
      if (row === undefined || row.champion_version === null) return null;
      const { champion_version: championVersion, quality, reference, windows_below: windowsBelow } = row;
      return { championVersion, quality, reference, windowsBelow, drifted: row.drifted_at !== null };
    },

    record: (cohort, device, { drift, turn, settings, evaluatedRows, why, lastVersion }) =>
      db.transaction().execute(async (trx) => {
        const due = turn === "drifted" && settings.action !== "event" ? settings.action : null;
        const facts = {
          champion_version: drift.championVersion,
          evaluated_rows: evaluatedRows,
          quality: drift.quality,
          reference: drift.reference,
          windows_below: drift.windowsBelow,
          why,
          updated_at: sql<Date>`now()`,
        };
        const begun = { ...facts, drifted_at: sql<Date>`now()`, due_action: due, due_version: due && lastVersion };
        const over = { ...facts, drifted_at: null };
        const change = turn === "drifted" ? begun : drift.drifted ? facts : over;
        if (!drift.drifted) {
          const because = turn === null ? `version ${drift.championVersion} is champion by now` : "it recovered";
          await settle(trx, cohort, device, because);
        }
        await trx
          .insertInto("live_drift")
          .values({ cohort, device_id: device, ...change })
          .onConflict((conflict) => conflict.columns(["cohort", "device_id"]).doUpdateSet(change))
          .execute();
        if (turn === null) return;
        const { championVersion, quality, reference } = drift;
        await postgresAuditLog(trx).record({
          actor: ACTOR,
          action: turn === "drifted" ? "drift.detected" : "drift.recovered",
          subject: subject(cohort, device),
          detail: { championVersion, quality, reference, evaluatedRows, ...settings },
        });
      }),

    notEvaluated: async (cohort, device, why) => {
      const change = { why, updated_at: sql<Date>`now()` };
      await db
        .insertInto("live_drift")
        .values({ cohort, device_id: device, ...change })
        .onConflict((conflict) => conflict.columns(["cohort", "device_id"]).doUpdateSet(change))
        .execute();
    },

    due: async () => {
      const rows = await db
        .selectFrom("live_drift")
        .selectAll()
        .where("due_action", "is not", null)
        .orderBy("cohort")
        .orderBy("device_id")
        .limit(MAX_DUE)
        .execute();
      return rows.map(
        (row): DueAction => ({
          cohort: row.cohort as CohortId,
          device: row.device_id as DeviceId,
          action: row.due_action as DueAction["action"],
          championVersion: row.champion_version ?? 0,
          quality: Number(row.quality),
          reference: Number(row.reference),
          evaluatedRows: row.evaluated_rows,
          lastVersion: row.due_version ?? 0,
        }),
      );
    },

    done: ({ cohort, device }, outcome) => db.transaction().execute((trx) => settle(trx, cohort, device, outcome)),

    parentOf: async (cohort, championVersion) => {
      const { rows } = await sql<{ version: number; trained: boolean }>`
        WITH RECURSIVE line (version, depth) AS (
          SELECT ${championVersion}::bigint, 0
          UNION ALL
          SELECT o.parent_version, l.depth + 1
          FROM line l JOIN federated_models m ON m.cohort = ${cohort} AND m.global_version = l.version
               JOIN federated_models o ON o.cohort = m.cohort
                                      AND o.global_version = coalesce(m.origin_version, m.global_version)
          WHERE l.depth < ${MAX_LINE} AND (l.depth = 0 OR m.status = 'rolled_back')
        )
        SELECT m.global_version AS version, m.rule <> 'initial' AS trained
        FROM line l JOIN federated_models m ON m.cohort = ${cohort} AND m.global_version = l.version
        WHERE l.depth > 0 AND m.status <> 'rolled_back'
        ORDER BY l.depth LIMIT 1`.execute(db);
      return rows[0] ?? null;
    },

    list: (cohort) => answered(list(db, cohort)),
  };
}

/** What is due, if anything is, is due no more; the audit row has the figures that it fell due with. */
async function settle(trx: Transaction<Tables>, cohort: CohortId, device: DeviceId, outcome: string): Promise<void> {
  const due = await trx
    .selectFrom("live_drift")
    .selectAll()
    .where("cohort", "=", cohort)
    .where("device_id", "=", device)
    .where("due_action", "is not", null)
    .forUpdate()
    .executeTakeFirst();
  if (due === undefined) return;
  await trx
    .updateTable("live_drift")
    .set({ due_action: null, due_version: null })
    .where("cohort", "=", cohort)
    .where("device_id", "=", device)
    .execute();
  const { champion_version: championVersion, quality, reference, evaluated_rows: evaluatedRows } = due;
  await postgresAuditLog(trx).record({
    actor: ACTOR,
    action: `drift.${due.due_action}`,
    subject: subject(cohort, device),
    detail: { outcome, championVersion, quality, reference, evaluatedRows },
  });
}

interface ListRow extends Omit<DriftItem, "stream" | "state" | "lastWindowEnd" | "driftedAt"> {
  readonly lastWindowEnd: Date | null;
  readonly driftedAt: Date | null;
}

async function list(db: Kysely<Tables>, cohort: CohortId): Promise<DriftItem[]> {
  const known = await db.selectFrom("cohorts").select("cohort").where("cohort", "=", cohort).executeTakeFirst();
  if (known === undefined) throw new UnknownModelError(cohort);
  const { rows } = await sql<ListRow>`
    SELECT p.cohort, s.device, w.windows, w.last AS "lastWindowEnd", w.rows, w.labelled AS "labelledRows", w.anomalies,
           w.late_rows AS "lateRows", w.late_labels AS "lateLabels", w.dropped_rows AS "droppedRows",
           w.dropped_labels AS "droppedLabels",
           CASE WHEN d.why IS NOT NULL THEN d.why WHEN w.windows = 0 THEN 'no window is stored'
                WHEN d.champion_version IS NULL THEN 'no window was measured yet' END AS why,
           d.champion_version AS "championVersion", d.quality, coalesce(d.evaluated_rows, 0) AS "evaluatedRows",
           d.reference, coalesce(d.windows_below, 0) AS "windowsBelow", d.drifted_at AS "driftedAt",
           d.due_action AS "dueAction"
    FROM cohort_plans p, jsonb_array_elements(p.federation -> 'live') WITH ORDINALITY AS l (settings, nth),
         LATERAL (SELECT l.settings ->> 'device' AS device) s
         LEFT JOIN live_drift d ON d.cohort = ${cohort} AND d.device_id = s.device,
         LATERAL (SELECT count(*) AS windows, max(window_end) AS last, coalesce(sum(rows), 0) AS rows,
                         coalesce(sum(labelled), 0) AS labelled, coalesce(sum(anomalies), 0) AS anomalies,
                         coalesce(sum(late_rows), 0) AS late_rows, coalesce(sum(late_labels), 0) AS late_labels,
                         coalesce(sum(dropped_rows), 0) AS dropped_rows,
                         coalesce(sum(dropped_labels), 0) AS dropped_labels
                  FROM live_windows v WHERE v.cohort = ${cohort} AND v.device_id = s.device) w
    WHERE p.cohort = ${cohort} AND p.state = 'active' ORDER BY l.nth`.execute(db);
  return rows.map(({ lastWindowEnd, driftedAt, ...row }) => ({
    ...row,
    quality: row.why === null ? row.quality : null,
    stream: liveStreamName(row.device),
    state: driftedAt !== null ? "drifted" : row.why === null ? "steady" : "not evaluated",
    lastWindowEnd: lastWindowEnd?.toISOString() ?? null,
    driftedAt: driftedAt?.toISOString() ?? null,
  }));
}
