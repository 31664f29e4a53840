// The rows a cohort's learner has not learned from yet, in the order they came.

/** A row that waits; a label that is said of it anew counts until it leaves. */
export interface PendingRow {
  /** Empty once it left. */
  features: Float32Array;
  /** Null: the plan learns without labels. */
  label: 0 | 1 | null;
  /** It was learned from, or there was no room for it: nothing that is said of it counts any more. */
  left: boolean;
}

export interface TakenRows {
  /** [rows, featureCount] */
  readonly x: Float32Array;
  /** [rows]; null: the rows have no labels. */
  readonly y: Float32Array | null;
  readonly rows: number;
  /** Goes to `learned` once they were learned from. */
  readonly upTo: number;
}

const NO_FEATURES = new Float32Array(0);

/** Bounded in rows: when it is full, the oldest leave. All rows have a label, or none has. */
export class PendingRows {
  readonly #maxRows: number;
  /** Those from `#first` on wait; the ones before have left and go together: each by itself would move all others. */
  #rows: PendingRow[] = [];
  #first = 0;
  /** Rows that ever left at the front. */
  #left = 0;

  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get length(): number {
    return this.#rows.length - this.#first;
  }

  add(features: Float32Array, label: 0 | 1 | null): PendingRow {
    const row = { features, label, left: false };
    this.#rows.push(row);
    if (this.length > this.#maxRows) this.#leave(1);
    return row;
  }

  /** The rows as they are, side by side. */
  take(featureCount: number): TakenRows {
    const rows = this.#rows.slice(this.#first);
    const x = new Float32Array(rows.length * featureCount);
    for (const [index, { features }] of rows.entries()) x.set(features, index * featureCount);
    const labels = rows.flatMap(({ label }) => label ?? []);
    const y = labels.length > 0 ? Float32Array.from(labels) : null;
    return { x, y, rows: rows.length, upTo: this.#left + rows.length };
  }

  /** Rows that came since the `take` stay. */
  learned(upTo: number): void {
    this.#leave(Math.min(this.length, Math.max(0, upTo - this.#left)));
  }

  /** The oldest `count` ≤ length rows. */
  #leave(count: number): void {
    for (const row of this.#rows.slice(this.#first, this.#first + count)) {
      row.left = true;
      row.features = NO_FEATURES;
    }
    this.#first += count;
    this.#left += count;
    if (this.#first < this.#maxRows && this.length > 0) return;
    this.#rows.splice(0, this.#first);
    this.#first = 0;
  }
}
