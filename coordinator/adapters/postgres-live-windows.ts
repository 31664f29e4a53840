// Closed windows of live streams in PostgreSQL.
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { type Kysely, sql } from "kysely";
import { KEPT_WINDOWS } from "../core/live-stream.ts";
import type { LiveRow } from "../core/live-windows.ts";
import type { LiveWindowStore } from "../ports/live-windows.ts";
import { sha256Of } from "./held-out-csv.ts";
import type { Tables } from "./tables.ts";

const compress = promisify(gzip);
const decompress = promisify(gunzip);
const BYTES = 8;

export function postgresLiveWindows(db: Kysely<Tables>): LiveWindowStore {
  return {
    add: async (cohort, device, channels, { startMs, endMs, rows, losses }) => {
      const bytes = encodeRows(rows, channels.length);
      const labels = rows.map(({ label }) => label);
      const values = {
        cohort,
        device_id: device,
        window_start: new Date(startMs),
        window_end: new Date(endMs),
        channels: [...channels],
        content: await compress(bytes),
        sha256: sha256Of(bytes),
        rows: rows.length,
        labelled: labels.filter((label) => label !== null).length,
        anomalies: labels.filter((label) => label === 1).length,
        late_rows: losses.lateRows,
        late_labels: losses.lateLabels,
        dropped_rows: losses.droppedRows,
        dropped_labels: losses.droppedLabels,
      };
      return db.transaction().execute(async (trx) => {
        const { numInsertedOrUpdatedRows = 0n } = await trx
          .insertInto("live_windows")
          .values(values)
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirstOrThrow();
        await sql`
          DELETE FROM live_windows WHERE cohort = ${cohort} AND device_id = ${device} AND window_start < (
            SELECT min(window_start) FROM (
              SELECT window_start FROM live_windows WHERE cohort = ${cohort} AND device_id = ${device}
              ORDER BY window_start DESC LIMIT ${KEPT_WINDOWS}) AS kept)`.execute(trx);
        return numInsertedOrUpdatedRows > 0n ? "stored" : "known";
      });
    },

    lastEndMs: async (cohort, device) => {
      const last = await db
        .selectFrom("live_windows")
        .select(({ fn }) => fn.max<Date | null>("window_end").as("at"))
        .where("cohort", "=", cohort)
        .where("device_id", "=", device)
        .executeTakeFirstOrThrow();
      return last.at?.getTime() ?? null;
    },

    keys: async (cohort) => {
      const rows = await db
        .selectFrom("live_windows")
        .select(["device_id", "window_start", "sha256"])
        .where("cohort", "=", cohort)
        .orderBy("device_id")
        .orderBy("window_start")
        .execute();
      return rows.map((row) => ({ device: row.device_id, startMs: row.window_start.getTime(), sha256: row.sha256 }));
    },

    content: async (cohort, { device, startMs, sha256 }) => {
      const row = await db
        .selectFrom("live_windows")
        .select(["channels", "content"])
        .where("cohort", "=", cohort)
        .where("device_id", "=", device)
        .where("window_start", "=", new Date(startMs))
        .where("sha256", "=", sha256)
        .executeTakeFirst();
      if (row === undefined) return null;
      return { channels: row.channels, rows: decodeRows(await decompress(row.content), row.channels.length) };
    },
  };
}

/** Row by row: its time, its values, its label; NaN: none. */
function encodeRows(rows: readonly LiveRow[], channels: number): Buffer {
  const bytes = Buffer.alloc(rows.length * (channels + 2) * BYTES);
  let at = 0;
  for (const { atMs, values, label } of rows) {
    for (const number of [atMs, ...values, label ?? Number.NaN]) at = bytes.writeDoubleLE(number, at);
  }
  return bytes;
}

function decodeRows(bytes: Buffer, channels: number): LiveRow[] {
  const perRow = channels + 2;
  const numbers = Float64Array.from({ length: bytes.length / BYTES }, (_, i) => bytes.readDoubleLE(i * BYTES));
  return Array.from({ length: numbers.length / perRow }, (_, nth): LiveRow => {
    const [atMs = 0, ...rest] = numbers.subarray(nth * perRow, (nth + 1) * perRow);
    const label = rest.pop();
    return { atMs, values: Float64Array.from(rest), label: label === 0 || label === 1 ? label : null };
  });
}
