// The one statement by which updates become durable: all of a batch or nothing of it, in one round trip.
import type pg from "pg";
import type { Refusal } from "../core/check-update.ts";
import type { NewUpdate } from "../ports/federation-store.ts";

export interface ArrivedUpdate {
  readonly update: NewUpdate;
  /** Why it does not count; null: it does. */
  readonly refusal: Refusal | null;
}

/** "known": it was durable before, and is what it was then. One that was refused before and is again is "refused". */
export type InsertOutcome = "stored" | "refused" | "known";

/** The ids, which make updates count once, and the updates. */
const INSERT = `
  WITH arrived AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::float8[], $9::text[], $10::text[], $11::text[], $12::bytea[])
      AS a (update_id, cohort, plan_id, gateway_id, model_version, global_version, samples_processed, loss, encoding,
            status, reason, delta)
  ), fresh AS (
    INSERT INTO update_ids (update_id, cohort, refused)
    SELECT update_id, cohort, status = 'refused' FROM arrived
    ON CONFLICT DO NOTHING RETURNING update_id
  )
  INSERT INTO local_models (update_id, cohort, plan_id, gateway_id, model_version, global_version, samples_processed,
                            loss, encoding, status, reason, delta)
  SELECT arrived.* FROM arrived JOIN fresh USING (update_id)
  RETURNING update_id`;

const REFUSED = "SELECT update_id FROM update_ids WHERE refused AND update_id = ANY($1::text[])";

/** The outcome of each, in order. An update that comes twice in `arrived` is stored once, as it came first. */
export async function insertUpdates(
  client: pg.ClientBase,
  arrived: readonly ArrivedUpdate[],
  timeoutMs: number,
): Promise<InsertOutcome[]> {
  const firsts = new Map<string, ArrivedUpdate>();
  for (const each of arrived) if (!firsts.has(each.update.updateId)) firsts.set(each.update.updateId, each);
  const values = columns([...firsts.values()]);
  const { rows } = await run(client, INSERT, values, timeoutMs);
  const inserted = new Set(rows.map(([updateId]) => updateId));
  const isNew = (each: ArrivedUpdate) =>
    firsts.get(each.update.updateId) === each && inserted.has(each.update.updateId);
  const refusedAgain = arrived.filter((each) => each.refusal !== null && !isNew(each));
  const refusedBefore = await refusedAmong(client, refusedAgain, timeoutMs);
  return arrived.map((each) => {
    if (isNew(each)) return each.refusal === null ? "stored" : "refused";
    return each.refusal !== null && refusedBefore.has(each.update.updateId) ? "refused" : "known";
  });
}

/** Those of them that are stored as refused; asked for only when a refused one comes again. */
async function refusedAmong(
  client: pg.ClientBase,
  refused: readonly ArrivedUpdate[],
  timeoutMs: number,
): Promise<ReadonlySet<string | undefined>> {
  if (refused.length === 0) return new Set();
  const ids = refused.map(({ update }) => update.updateId);
  const { rows } = await run(client, REFUSED, [ids], timeoutMs);
  return new Set(rows.map(([updateId]) => updateId));
}

function run(
  client: pg.ClientBase,
  text: string,
  values: unknown[],
  timeoutMs: number,
): Promise<pg.QueryArrayResult<string[]>> {
  const query = { text, values, rowMode: "array" as const, query_timeout: timeoutMs };
  return client.query<string[]>(query);
}

function columns(arrived: readonly ArrivedUpdate[]): unknown[] {
  const of = <Value>(value: (update: NewUpdate) => Value) => arrived.map(({ update }) => value(update));
  return [
    of(({ updateId }) => updateId),
    of(({ cohort }) => cohort),
    of(({ planId }) => planId),
    of(({ gatewayId }) => gatewayId),
    of(({ localSteps }) => localSteps),
    of(({ baseVersion }) => baseVersion),
    of(({ samples }) => samples),
    of(({ loss }) => loss),
    of(({ encoding }) => encoding),
    arrived.map(({ refusal }) => (refusal === null ? "accepted" : "refused")),
    arrived.map(({ refusal }) => refusal && `${refusal.reason}: ${refusal.message}`),
    byteaArray(arrived.map(({ update, refusal }) => (refusal === null ? update.delta : null))),
  ];
}

const BYTEA_OID = 17;
const ARRAY_HEAD_BYTES = 20;

/**
 * A one-dimensional bytea[] as PostgreSQL sends and receives arrays in binary (array_recv): int32 dimensions, whether
 * there are nulls, element type, length, lower bound; then of each element its int32 length (null: -1) and bytes. pg
 * would write each byte of an array as hexadecimal text.
 */
export function byteaArray(values: readonly (Uint8Array | null)[]): Buffer {
  const bytes = values.reduce((sum, value) => sum + 4 + (value?.byteLength ?? 0), ARRAY_HEAD_BYTES);
  const array = Buffer.allocUnsafe(bytes);
  let at = 0;
  const put = (number: number) => {
    at = array.writeInt32BE(number, at);
  };
  for (const number of [1, values.includes(null) ? 1 : 0, BYTEA_OID, values.length, 1]) put(number);
  for (const value of values) {
    put(value?.byteLength ?? -1);
    if (value === null) continue;
    array.set(value, at);
    at += value.byteLength;
  }
  return array;
}
