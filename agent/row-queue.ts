// Readings that wait to be judged, bounded: when it is full, the oldest leaves.

import type { Reading } from "../learning/telemetry/default-mapping.ts";
import type { Cohort } from "./cohort.ts";

export interface QueuedReading {
  readonly cohort: Cohort;
  readonly reading: Reading;
}

export class RowQueue {
  readonly #maxRows: number;
  #rows: QueuedReading[] = [];

  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get length(): number {
    return this.#rows.length;
  }

  /** What had to leave for it. */
  add(row: QueuedReading): QueuedReading | null {
    this.#rows.push(row);
    return this.#rows.length > this.#maxRows ? (this.#rows.shift() ?? null) : null;
  }

  /** The oldest `limit` rows, those of one cohort together and in their order. */
  take(limit: number): Map<Cohort, Reading[]> {
    const taken = new Map<Cohort, Reading[]>();
    for (const { cohort, reading } of this.#rows.splice(0, limit)) {
      const readings = taken.get(cohort);
      if (readings === undefined) taken.set(cohort, [reading]);
      else readings.push(reading);
    }
    return taken;
  }
}
