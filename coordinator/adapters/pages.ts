// How a page of rows is asked for in SQL: after a key, and told apart from a database that does not answer.
import { type SqlBool, sql } from "kysely";
import { FleetUnavailableError, type Page } from "../ports/fleet-queries.ts";
import { ModelError } from "../ports/model-actions.ts";

export const ALL = sql<SqlBool>`true`;

/** PostgreSQL keeps microseconds, a Date only milliseconds: a key made of one would skip rows. */
export function microseconds(column: string) {
  return sql<number>`(extract(epoch from ${sql.ref(column)}) * 1000000)::bigint`.as("at_us");
}

export function olderThan(timeColumn: string, idColumns: string[], atUs: number, ids: (string | number)[]) {
  const time = sql.ref(timeColumn);
  const at = sql`(timestamptz 'epoch' + ${atUs}::bigint * interval '1 microsecond')`;
  const columns = sql.join(idColumns.map((column) => sql.ref(column)));
  return sql<SqlBool>`(${time} < ${at} OR (${time} = ${at} AND ROW(${columns}) > ROW(${sql.join(ids)})))`;
}

/** `rows` holds one row more than the page when another page follows. */
export function page<Row, Item, Key>(
  rows: Row[],
  limit: number,
  item: (row: Row) => Item,
  key: (row: Row) => Key,
): Page<Item, Key> {
  const last = rows[limit - 1];
  return {
    items: rows.slice(0, limit).map(item),
    next: rows.length > limit && last !== undefined ? key(last) : null,
  };
}

/** SQLSTATE classes of a server that is away, going away or full; an error without one never reached a server. */
const UNAVAILABLE = /^(08|53|57)/;

/** Throws FleetUnavailableError for those. */
export async function answered<Result>(query: Promise<Result>): Promise<Result> {
  return query.catch((error: { code?: unknown; severity?: unknown }) => {
    if (error instanceof ModelError) throw error;
    if (error.severity === undefined || UNAVAILABLE.test(String(error.code))) throw new FleetUnavailableError(error);
    throw error;
  });
}
