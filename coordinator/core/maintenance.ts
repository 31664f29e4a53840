// What the database's tables may hold, and which partitions to make and to drop for it.

/** Null: without limit. */
export interface TableLimits {
  readonly retentionDays: number | null;
  readonly maxBytes: number | null;
}

const DAY_MS = 86_400_000;
const GIB = 2 ** 30;
/** So long the database takes rows into partitions when nobody maintains it; after it they go to the rest. */
const AHEAD_MS = 14 * DAY_MS;

/**
 * Tables that grow, and what they may hold by default. Age is that of a row, or of what it says: an episode's last word,
 * a certificate's end, a detector's retirement. Not here is what is never dropped: cohorts, plans, rounds and models.
 */
export const TABLE_LIMITS = {
  local_models: { retentionDays: 90, maxBytes: 20 * GIB },
  model_evaluations: { retentionDays: 30, maxBytes: 10 * GIB },
  evaluation_scores: { retentionDays: 180, maxBytes: 5 * GIB },
  live_windows: { retentionDays: 7, maxBytes: 1 * GIB },
  model_feedback: { retentionDays: 180, maxBytes: 5 * GIB },
  stream_analysis_results: { retentionDays: 14, maxBytes: 20 * GIB },
  anomaly_detections: { retentionDays: 90, maxBytes: 5 * GIB },
  dashboard_metrics: { retentionDays: 90, maxBytes: 2 * GIB },
  audit_log: { retentionDays: 730, maxBytes: 5 * GIB },
  batch_analysis_results: { retentionDays: 730, maxBytes: 10 * GIB },
  episodes: { retentionDays: 365, maxBytes: 10 * GIB },
  deliveries: { retentionDays: 90, maxBytes: 2 * GIB },
  labels: { retentionDays: null, maxBytes: 2 * GIB },
  ml_models: { retentionDays: 30, maxBytes: null },
  join_tokens: { retentionDays: 30, maxBytes: null },
  certificates: { retentionDays: 365, maxBytes: null },
  /** Rounds pool what was told in the last 30 days. */
  gateway_statistics: { retentionDays: 30, maxBytes: null },
  /** Since they were last seen; after their statistics, and before their standings, which go with them. */
  gateways: { retentionDays: 365, maxBytes: null },
  gateway_standings: { retentionDays: 365, maxBytes: null },
  plan_dry_runs: { retentionDays: 365, maxBytes: null },
  /** Weights of older versions, whose rows stay. */
  model_archive: { retentionDays: null, maxBytes: 1 * GIB },
  /** Beyond it an id is forgotten once its update is too stale to count. */
  update_ids: { retentionDays: 14, maxBytes: null },
} as const satisfies Record<string, TableLimits>;

export type LimitedTable = keyof typeof TABLE_LIMITS;
export type Limits = Readonly<Record<LimitedTable, TableLimits>>;

/** Half open: [sinceMs, untilMs). */
export interface Partition {
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly bytes: number;
}

export interface TableInTime {
  readonly name: string;
  readonly partitionMs: number;
  readonly partitions: readonly Partition[];
  /** Of rows that fit into no partition. */
  readonly restBytes: number;
  /** Where partitions for them would begin. */
  readonly missingMs: readonly number[];
  /** The database drops what is too old by itself. */
  readonly expiresItself: boolean;
  /** It makes its partitions itself. */
  readonly growsItself: boolean;
}

export interface MaintenancePlan {
  /** A time in each partition to make. */
  readonly make: readonly number[];
  /** Beginnings of partitions to drop, oldest first. */
  readonly drop: readonly number[];
}

/** Rows from before it are too old; null: none is. */
export function horizonMs({ retentionDays }: TableLimits, nowMs: number): number | null {
  return retentionDays === null ? null : nowMs - retentionDays * DAY_MS;
}

/** The partition that takes today's rows is never dropped, nor a later one, whatever it holds. */
export function planMaintenance(table: TableInTime, limits: TableLimits, nowMs: number): MaintenancePlan {
  const horizon = horizonMs(limits, nowMs) ?? Number.NEGATIVE_INFINITY;
  const past = table.partitions.filter(({ untilMs }) => untilMs <= nowMs).toSorted((a, b) => a.sinceMs - b.sinceMs);
  const drop = table.expiresItself ? [] : past.filter(({ untilMs }) => untilMs <= horizon);
  const total = (partitions: readonly Partition[]) => partitions.reduce((sum, { bytes }) => sum + bytes, 0);
  let bytes = table.restBytes + total(table.partitions) - total(drop);
  for (const partition of past.slice(drop.length)) {
    if (limits.maxBytes === null || bytes <= limits.maxBytes) break;
    drop.push(partition);
    bytes -= partition.bytes;
  }
  return { make: partitionsToMake(table, horizon, nowMs), drop: drop.map(({ sinceMs }) => sinceMs) };
}

function partitionsToMake(table: TableInTime, horizon: number, nowMs: number): number[] {
  if (table.growsItself) return [];
  const steps = Math.ceil(AHEAD_MS / table.partitionMs);
  const ahead = Array.from({ length: steps + 1 }, (_, step) => nowMs + step * table.partitionMs);
  const missing = table.missingMs.filter((at) => at + table.partitionMs > horizon && at <= nowMs + AHEAD_MS);
  const exists = (at: number) => table.partitions.some(({ sinceMs, untilMs }) => sinceMs <= at && at < untilMs);
  return [...missing, ...ahead].filter((at) => !exists(at));
}

/** How many of a table's rows are too many, the oldest ones; `bytes` is what all of them take. */
export function excessRows(rows: number, bytes: number, { maxBytes }: TableLimits): number {
  if (maxBytes === null || bytes <= maxBytes) return 0;
  return Math.ceil(rows * (1 - maxBytes / bytes));
}
