// Keeps the tables within their limits: partitions ahead of time, what is too old or too much dropped.
import type { Logger } from "../runtime/log.ts";
import {
  excessRows,
  horizonMs,
  type LimitedTable,
  type Limits,
  planMaintenance,
  TABLE_LIMITS,
  type TableInTime,
  type TableLimits,
} from "./core/maintenance.ts";
import type { Duty } from "./leader.ts";
import type { TableKeeper } from "./ports/table-keeper.ts";

export interface MaintenanceDeps {
  readonly keeper: TableKeeper;
  readonly limits: Limits;
  readonly log: Logger;
}

const EVERY_MS = 3_600_000;
/** A sweep deletes in steps of so many rows, each a transaction of its own, and so many of them in one pass. */
const SWEEP_ROWS = 10_000;
const SWEEP_STEPS = 1_000;
const UNLIMITED: TableLimits = { retentionDays: null, maxBytes: null };

export const maintenanceDuty = (deps: MaintenanceDeps): Duty => ({
  name: "keep tables within their limits",
  everyMs: EVERY_MS,
  run: (signal) => runMaintenance(deps, Date.now(), signal),
});

/** One pass. A table that fails is logged and has its turn again in the next; the others don't wait for it. */
export async function runMaintenance(deps: MaintenanceDeps, nowMs: number, signal: AbortSignal): Promise<void> {
  const { keeper, limits, log } = deps;
  const attempt = async (table: string, work: () => Promise<void>) => {
    if (signal.aborted) return;
    await work().catch((error) => log.error({ err: error, table }, "a table was not maintained; it is tried again"));
  };
  const limitsOf = (table: string): TableLimits => limits[table as LimitedTable] ?? UNLIMITED;
  let inTime: TableInTime[] = [];
  await attempt("tables in time", async () => {
    inTime = await keeper.tablesInTime(limitsOf);
  });
  for (const table of inTime) await attempt(table.name, () => keepPartitions(deps, table, limitsOf(table.name), nowMs));
  const names = new Set(inTime.map(({ name }) => name));
  for (const table of Object.keys(TABLE_LIMITS) as LimitedTable[]) {
    await attempt(table, () => keepRows(deps, table, names.has(table), nowMs, signal));
  }
}

async function keepPartitions(
  { keeper, log }: MaintenanceDeps,
  table: TableInTime,
  limits: TableLimits,
  nowMs: number,
) {
  const { make, drop } = planMaintenance(table, limits, nowMs);
  for (const atMs of make) await keeper.makePartition(table.name, atMs);
  for (const sinceMs of drop) {
    const dropped = await keeper.dropPartition(table.name, sinceMs);
    const fields = { table: table.name, since: new Date(sinceMs).toISOString() };
    log.info(fields, dropped ? "a partition was dropped" : "a partition stays: updates in it wait for their round");
  }
}

async function keepRows(
  { keeper, limits, log }: MaintenanceDeps,
  table: LimitedTable,
  inTime: boolean,
  nowMs: number,
  signal: AbortSignal,
): Promise<void> {
  const tooOld = horizonMs(limits[table], nowMs);
  const tooMuch = inTime ? null : await excessBefore(keeper, table, limits[table]);
  const before = Math.max(tooOld ?? 0, tooMuch ?? 0);
  if (before === 0) return;
  let deleted = 0;
  for (let step = 0; step < SWEEP_STEPS && !signal.aborted; step++) {
    const rows = await keeper.sweep(table, before, SWEEP_ROWS);
    deleted += rows;
    if (rows < SWEEP_ROWS) break;
  }
  if (deleted > 0) log.info({ table, deleted }, "old rows were deleted");
}

/** Rows from before it are too many; null: none are. */
async function excessBefore(keeper: TableKeeper, table: LimitedTable, limits: TableLimits): Promise<number | null> {
  if (limits.maxBytes === null) return null;
  const { rows, bytes } = await keeper.size(table);
  const excess = excessRows(rows, bytes, limits);
  return excess === 0 ? null : keeper.ageOfOldest(table, excess);
}
