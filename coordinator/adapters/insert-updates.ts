// The one statement by which updates become durable: all of a batch or nothing of it, in one round trip.
import type pg from "pg";
import type { Refusal } from "../core/check-update.ts";
import type { NewUpdate } from "../ports/federation-store.ts";
import { type BinaryArrays, BYTEA, type ElementType, FLOAT8, INT8, TEXT } from "./binary-arrays.ts";

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

/** The outcome of each, in order; `arrays` are free again when it settles. An update that comes twice in `arrived` is stored once, as it came first. */
export async function insertUpdates(
  client: pg.ClientBase,
  arrays: BinaryArrays,
  arrived: readonly ArrivedUpdate[],
  timeoutMs: number,
): Promise<InsertOutcome[]> {
  const firsts = new Map<string, ArrivedUpdate>();
  for (const each of arrived) if (!firsts.has(each.update.updateId)) firsts.set(each.update.updateId, each);
  arrays.clear();
  const values = columns(arrays, [...firsts.values()]);
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

function columns(arrays: BinaryArrays, arrived: readonly ArrivedUpdate[]): Buffer[] {
  const of = <Value>(type: ElementType<Value>, value: (update: NewUpdate) => Value) =>
    arrays.add(
      type,
      arrived.map(({ update }) => value(update)),
    );
  const refused = arrived.map(({ refusal }) => refusal);
  return [
    of(TEXT, ({ updateId }) => updateId),
    of(TEXT, ({ cohort }) => cohort),
    of(TEXT, ({ planId }) => planId),
    of(TEXT, ({ gatewayId }) => gatewayId),
    of(INT8, ({ localSteps }) => localSteps),
    of(INT8, ({ baseVersion }) => baseVersion),
    of(INT8, ({ samples }) => samples),
    of(FLOAT8, ({ loss }) => loss),
    of(TEXT, ({ encoding }) => encoding),
    arrays.add(
      TEXT,
      refused.map((refusal) => (refusal === null ? "accepted" : "refused")),
    ),
    arrays.add(
      TEXT,
      refused.map((refusal) => refusal && `${refusal.reason}: ${refusal.message}`),
    ),
    arrays.add(
      BYTEA,
      arrived.map(({ update, refusal }) => (refusal === null ? update.delta : null)),
    ),
  ];
}
