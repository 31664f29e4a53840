// Partitions, policies and sweeps in PostgreSQL; what differs from home to home is in the functions of adapters/sql.
import { type Kysely, type RawBuilder, sql } from "kysely";
import type { LimitedTable, Partition, TableInTime, TableLimits } from "../core/maintenance.ts";
import type { TableKeeper } from "../ports/table-keeper.ts";
import type { Tables } from "./tables.ts";

const DAY_MS = 86_400_000;
/** Partitions that are made or dropped lock their table for a moment; whoever works with it for longer goes first. */
const LOCK_TIMEOUT = sql`SET LOCAL lock_timeout = '3s'`;
/** What TimescaleDB compresses: older rows are hardly ever written again. */
const COMPRESS_AFTER_DAYS = 14;

interface Aging {
  /** A row's age; null: it has none yet. */
  readonly time: RawBuilder<Date | null>;
  readonly expendable: RawBuilder<boolean>;
  /** Of a row; absent: as the server estimates, which leaves out what is stored out of line. */
  readonly bytes?: RawBuilder<number>;
}

const ANY = sql<boolean>`true`;
const UNCOUNTABLE = sql<boolean>`EXISTS (
  SELECT FROM countable_updates c WHERE c.cohort = update_ids.cohort AND update_ids.created_at < c.since)`;
const UNCONNECTED = sql<boolean>`(NOT connected AND NOT EXISTS (
  SELECT FROM gateway_statistics s WHERE s.gateway_id = gateways.gateway_id))`;
const NOBODYS = sql<boolean>`NOT EXISTS (SELECT FROM gateways g WHERE g.gateway_id = gateway_standings.gateway_id)`;

/** Tables that are not in time. */
const AGING: Partial<Record<LimitedTable, Aging>> = {
  batch_analysis_results: { time: sql`(analysis_date::timestamp AT TIME ZONE 'UTC')`, expendable: ANY },
  episodes: { time: sql`updated_at`, expendable: ANY },
  deliveries: { time: sql`created_at`, expendable: sql`status <> 'waiting'` },
  labels: { time: sql`created_at`, expendable: ANY },
  evaluation_scores: { time: sql`created_at`, expendable: ANY },
  live_windows: { time: sql`window_end`, expendable: ANY, bytes: sql`octet_length(content)` },
  ml_models: { time: sql`retired_at`, expendable: ANY },
  join_tokens: { time: sql`expires_at`, expendable: ANY },
  certificates: { time: sql`not_after`, expendable: ANY },
  gateway_statistics: { time: sql`reported_at`, expendable: ANY },
  gateways: { time: sql`last_seen_at`, expendable: UNCONNECTED },
  gateway_standings: { time: sql`coalesce(changed_at, '-infinity')`, expendable: NOBODYS },
  plan_dry_runs: { time: sql`created_at`, expendable: ANY },
  model_archive: { time: sql`archived_at`, expendable: ANY, bytes: sql`octet_length(weights)` },
  update_ids: { time: sql`created_at`, expendable: UNCOUNTABLE },
};

export function postgresTableKeeper(db: Kysely<Tables>): TableKeeper {
  return {
    tablesInTime: async (limitsOf) => {
      const tables = await db.selectFrom("time_tables").selectAll().orderBy("table_name").execute();
      const read: TableInTime[] = [];
      for (const table of tables) {
        const expiresItself = await setPolicies(db, table.table_name, limitsOf(table.table_name));
        const partitions = await readPartitions(db, table.table_name);
        read.push({
          name: table.table_name,
          partitionMs: table.partition_days * DAY_MS,
          partitions: partitions.flatMap(({ range }) => range ?? []),
          restBytes: partitions.find(({ range }) => range === null)?.bytes ?? 0,
          missingMs: await readMissing(db, table.table_name),
          expiresItself,
          growsItself: table.hypertable,
        });
      }
      return read;
    },

    makePartition: (table, atMs) =>
      db.transaction().execute(async (trx) => {
        await LOCK_TIMEOUT.execute(trx);
        await sql`SELECT ensure_partition(${table}, ${new Date(atMs)})`.execute(trx);
      }),

    dropPartition: (table, sinceMs) =>
      db.transaction().execute(async (trx) => {
        await LOCK_TIMEOUT.execute(trx);
        const dropped = await sql<{ dropped: boolean }>`
          SELECT drop_partition(${table}, ${new Date(sinceMs)}) AS dropped`.execute(trx);
        return dropped.rows[0]?.dropped ?? false;
      }),

    sweep: async (table, beforeMs, maxRows) => {
      const target = await sweptTable(db, table);
      if (target === null) return 0;
      const { name, time, expendable } = target;
      const rows = sql`SELECT ctid FROM ${sql.table(name)} WHERE ${time} < ${new Date(beforeMs)} AND ${expendable}
                       LIMIT ${maxRows}`;
      const swept = await sql`DELETE FROM ${sql.table(name)} WHERE ctid = ANY (ARRAY(${rows}))`.execute(db);
      return Number(swept.numAffectedRows ?? 0);
    },

    size: async (table) => {
      const { bytes } = AGING[table] ?? {};
      if (bytes) return measured(db, table, bytes);
      const { rows } = await sql<{ rows: number; bytes: number }>`
        SELECT c.reltuples::bigint AS rows,
               (c.reltuples * (${ROW_OVERHEAD_BYTES} + coalesce(sum(s.avg_width * (1 - s.null_frac)), 0)))::bigint AS bytes
        FROM pg_class c LEFT JOIN pg_stats s ON s.tablename = c.relname AND s.schemaname = c.relnamespace::regnamespace::text
        WHERE c.oid = ${table}::regclass GROUP BY c.reltuples`.execute(db);
      const [size] = rows;
      return size && size.rows > 0 ? size : { rows: 0, bytes: 0 }; // -1: not estimated yet
    },

    ageOfOldest: async (table, offset) => {
      const { time, expendable } = AGING[table] ?? { time: sql`NULL::timestamptz`, expendable: ANY };
      const { rows } = await sql<{ at: Date }>`
        SELECT ${time} AS at FROM ${sql.table(table)} WHERE ${time} IS NOT NULL AND ${expendable}
        ORDER BY 1 OFFSET ${offset} LIMIT 1`.execute(db);
      return rows[0]?.at.getTime() ?? null;
    },
  };
}

async function measured(db: Kysely<Tables>, table: LimitedTable, bytes: RawBuilder<number>) {
  const { rows } = await sql<{ rows: number; bytes: number }>`
    SELECT count(*) AS rows, coalesce(sum(${ROW_OVERHEAD_BYTES} + ${bytes}), 0)::bigint AS bytes
    FROM ${sql.table(table)}`.execute(db);
  return rows[0] ?? { rows: 0, bytes: 0 };
}

/** Tuple header, line pointer and an entry in one index. */
const ROW_OVERHEAD_BYTES = 60;

async function setPolicies(db: Kysely<Tables>, table: string, limits: TableLimits): Promise<boolean> {
  const days = (n: number | null) => (n === null ? sql`NULL` : sql`make_interval(days => ${n})`);
  const { rows } = await sql<{ expires: boolean }>`
    SELECT set_time_policies(${table}, ${days(limits.retentionDays)}, ${days(COMPRESS_AFTER_DAYS)}) AS expires`.execute(
    db,
  );
  return rows[0]?.expires ?? false;
}

async function readPartitions(
  db: Kysely<Tables>,
  table: string,
): Promise<{ readonly range: Partition | null; readonly bytes: number }[]> {
  const { rows } = await sql<{ since: Date | null; until: Date | null; bytes: number }>`
    SELECT since, until, bytes FROM time_partitions(${table}) ORDER BY since`.execute(db);
  return rows.map(({ since, until, bytes }) => ({
    range: since && until && { sinceMs: since.getTime(), untilMs: until.getTime(), bytes },
    bytes,
  }));
}

async function readMissing(db: Kysely<Tables>, table: string): Promise<number[]> {
  const { rows } = await sql<{ at: Date }>`SELECT at FROM missing_partitions(${table}) AS at`.execute(db);
  return rows.map(({ at }) => at.getTime());
}

/** Of a table in time, its rows that are in no partition; null: a hypertable has none. */
async function sweptTable(db: Kysely<Tables>, table: LimitedTable): Promise<(Aging & { name: string }) | null> {
  const aging = AGING[table];
  if (aging) return { name: table, ...aging };
  const inTime = await db.selectFrom("time_tables").selectAll().where("table_name", "=", table).executeTakeFirst();
  if (inTime === undefined || inTime.hypertable) return null;
  return { name: `${inTime.parent}_rest`, time: sql`${sql.ref(inTime.time_column)}`, expendable: ANY };
}
