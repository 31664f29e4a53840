// What a database does to keep its tables within their limits.
import type { LimitedTable, TableInTime, TableLimits } from "../core/maintenance.ts";

export interface TableKeeper {
  /** The tables in time, in whose home the limits are set first where it keeps them itself. */
  tablesInTime(limitsOf: (table: string) => TableLimits): Promise<TableInTime[]>;
  makePartition(table: string, atMs: number): Promise<void>;
  /** False: it holds updates that wait for their round, or is gone. */
  dropPartition(table: string, sinceMs: number): Promise<boolean>;
  /**
   * Deletes the rows that are older, at most `maxRows` of them, and says how many; of a table in time, those that are in
   * no partition. Rows that are still at work stay: deliveries that wait, ids of updates that can still count.
   */
  sweep(table: LimitedTable, beforeMs: number, maxRows: number): Promise<number>;
  /** Of a table that is not in time, as last estimated; what is deleted already does not count. */
  size(table: LimitedTable): Promise<{ rows: number; bytes: number }>;
  /** Age of the oldest row when the `rows` oldest are gone; null: there are no more. */
  ageOfOldest(table: LimitedTable, rows: number): Promise<number | null>;
}
