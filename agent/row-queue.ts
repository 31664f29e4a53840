// Readings that wait to be judged, bounded in rows and values: when it is full, the oldest leave.

import type { Reading } from "../learning/telemetry/default-mapping.ts";
import type { Cohort } from "./cohort.ts";

export interface QueuedReading {
  readonly cohort: Cohort;
  readonly reading: Reading;
}

export class RowQueue {
  readonly #maxRows: number;
  readonly #maxValues: number;
  #rows: QueuedReading[] = [];
  #values = 0;

  constructor(maxRows: number, maxValues: number) {
    this.#maxRows = maxRows;
    this.#maxValues = maxValues;
  }

  get length(): number {
    return this.#rows.length;
  }

  /** What had to leave for it. */
  add(row: QueuedReading): QueuedReading[] {
    this.#rows.push(row);
    this.#values += row.reading.values.size;
    let leaving = Math.max(0, this.#rows.length - this.#maxRows);
    let values = this.#values - valuesIn(this.#rows.slice(0, leaving));
    while (values > this.#maxValues && leaving < this.#rows.length)
      values -= this.#rows[leaving++]?.reading.values.size ?? 0;
    this.#values = values;
    return this.#rows.splice(0, leaving);
  }

  /** The oldest `limit` rows, those of one cohort together and in their order. */
  take(limit: number): Map<Cohort, Reading[]> {
    const taken = new Map<Cohort, Reading[]>();
    const rows = this.#rows.splice(0, limit);
    this.#values -= valuesIn(rows);
    for (const { cohort, reading } of rows) {
      const readings = taken.get(cohort);
      if (readings === undefined) taken.set(cohort, [reading]);
      else readings.push(reading);
    }
    return taken;
  }
}

const valuesIn = (rows: readonly QueuedReading[]) => rows.reduce((sum, { reading }) => sum + reading.values.size, 0);
