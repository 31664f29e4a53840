// The rows a cohort's learner has not learned from yet, in the order they came.

/** Bounded in rows: when it is full, the oldest leave. */
export class PendingRows {
  readonly #maxRows: number;
  #rows: Float32Array[] = [];
  /** Rows that ever left at the front. */
  #left = 0;

  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get length(): number {
    return this.#rows.length;
  }

  add(features: Float32Array): void {
    this.#rows.push(features);
    if (this.#rows.length > this.#maxRows) this.#drop(1);
  }

  /** The rows as they are, side by side; `upTo` goes to `learned` once they were learned from. */
  take(featureCount: number): { readonly x: Float32Array; readonly rows: number; readonly upTo: number } {
    const x = new Float32Array(this.#rows.length * featureCount);
    for (const [index, row] of this.#rows.entries()) x.set(row, index * featureCount);
    return { x, rows: this.#rows.length, upTo: this.#left + this.#rows.length };
  }

  /** Rows that came since the `take` stay. */
  learned(upTo: number): void {
    this.#drop(Math.max(0, upTo - this.#left));
  }

  #drop(rows: number): void {
    this.#rows.splice(0, rows);
    this.#left += rows;
  }
}
