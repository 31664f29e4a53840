// A device's last rows, kept for the labels that come after them.
import { RowRing } from "../../learning/row-ring.ts";
import type { RowLabels } from "./labels.ts";
import type { PendingRow } from "./pending-rows.ts";

const MAX_ROWS = 600;
/** With the times and the marks about 10 KiB more: at 8 channels and the built-in plan's 32 features 86 KB a device. */
const MAX_BYTES = 256 * 1024;

/** Makes a row wait to be learned. */
export type LearnLabelled = (features: Float32Array, label: 0 | 1) => PendingRow;

/** The last 600 rows, or as many as fit into 256 KiB. */
export class SeenRows {
  readonly #features: RowRing<Float32Array>;
  /** By place in the ring, as `#marks`. */
  readonly #atMs: Float64Array;
  /** Rows that were labelled, once waiting to be learned. */
  readonly #marks: (PendingRow | null)[];
  /** The newest time of a row that can't be labelled any more; null: there is none. */
  #goneAtMs: number | null;
  #lastAtMs: number | null;

  /** `lastAtMs`: of the rows before, which are gone; null: none were. */
  constructor(featureCount: number, lastAtMs: number | null = null) {
    const bytesPerRow = featureCount * Float32Array.BYTES_PER_ELEMENT;
    const rows = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_BYTES / bytesPerRow)));
    this.#features = new RowRing(new Float32Array(rows * featureCount), featureCount);
    this.#atMs = new Float64Array(rows);
    this.#marks = new Array<PendingRow | null>(rows).fill(null);
    this.#goneAtMs = lastAtMs;
    this.#lastAtMs = lastAtMs;
  }

  /** Of the newest row, held or not. */
  get lastAtMs(): number | null {
    return this.#lastAtMs;
  }

  /** Times ascend. `features` null: nothing can be learned from the row. */
  enter(atMs: number, features: Float32Array | null): void {
    const ring = this.#features;
    this.#lastAtMs = atMs;
    if (features === null) {
      this.#goneAtMs = atMs;
      return;
    }
    const place = ring.nextOffset / ring.columns;
    if (ring.count === ring.capacity) this.#goneAtMs = Math.max(this.#goneAtMs ?? 0, this.#atMs[place] ?? 0);
    this.#atMs[place] = atMs;
    this.#marks[place] = null;
    ring.enter(features);
  }

  /**
   * Labels the rows held in the time given: each is learned once, with the label it had last when it was. `late`: the time
   * reaches back to rows that are not held any more.
   */
  label(said: Omit<RowLabels, "deviceId">, learn: LearnLabelled): { readonly rows: number; readonly late: boolean } {
    const { fromMs, toMs, label } = said;
    const ring = this.#features;
    let rows = 0;
    for (let age = ring.count - 1; age >= 0; age--) {
      const at = ring.offset(age);
      const place = at / ring.columns;
      const atMs = Number(this.#atMs[place]);
      if (atMs < fromMs || atMs > toMs) continue;
      const mark = this.#marks[place] ?? null;
      if (mark?.left) continue;
      if (mark === null) this.#marks[place] = learn(ring.values.slice(at, at + ring.columns), label);
      else mark.label = label;
      rows++;
    }
    return { rows, late: this.#goneAtMs !== null && fromMs <= this.#goneAtMs };
  }
}
