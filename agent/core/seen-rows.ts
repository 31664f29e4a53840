// A device's last rows, kept for the labels that come after them.
import { RowRing } from "../../learning/row-ring.ts";
import type { RowLabels } from "../../learning/telemetry/row-labels.ts";
import type { PendingRow } from "./pending-rows.ts";

const MAX_ROWS = 600;
/** With the times and the marks about 10 KiB more: at 8 channels and the built-in plan's 32 features 86 KB a device. */
const MAX_BYTES = 256 * 1024;
const NEVER = Number.NEGATIVE_INFINITY;

/** Makes a row wait to be learned. */
export type LearnLabelled = (features: Float32Array, label: 0 | 1) => PendingRow;

export interface Labelled {
  /** Rows that have this label when they are learned. */
  readonly rows: number;
  /** Some rows were learned with the other label, or will be and can't be labelled anew. */
  readonly trained: boolean;
  /** Some rows are gone, and were never labelled. */
  readonly late: boolean;
}

/** The last 600 rows, or as many as fit into 256 KiB. */
export class SeenRows {
  readonly #features: RowRing<Float32Array>;
  /** By place in the ring, as `#marks`. */
  readonly #atMs: Float64Array;
  /** Rows that were labelled, once waiting to be learned. */
  readonly #marks: (PendingRow | null)[];
  /** The newest time of a row that is gone without a label. */
  #goneAtMs: number;
  /** The same of rows that are gone with the label 0, and with 1. */
  readonly #goneLabelledAtMs = { 0: NEVER, 1: NEVER };
  #lastAtMs: number | null;

  /** `lastAtMs`: of the rows before, which are gone; null: none were. */
  constructor(featureCount: number, lastAtMs: number | null = null) {
    const bytesPerRow = featureCount * Float32Array.BYTES_PER_ELEMENT;
    const rows = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_BYTES / bytesPerRow)));
    this.#features = new RowRing(new Float32Array(rows * featureCount), featureCount);
    this.#atMs = new Float64Array(rows);
    this.#marks = new Array<PendingRow | null>(rows).fill(null);
    this.#goneAtMs = lastAtMs ?? NEVER;
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
    if (ring.count === ring.capacity) this.#forget(place);
    this.#atMs[place] = atMs;
    this.#marks[place] = null;
    ring.enter(features);
  }

  /** Labels the rows held in the time given: each is learned once, with the label it had last when it was. */
  label(said: Omit<RowLabels, "deviceId">, learn: LearnLabelled): Labelled {
    const { fromMs, toMs, label } = said;
    const ring = this.#features;
    let rows = 0;
    let trained = fromMs <= this.#goneLabelledAtMs[label === 0 ? 1 : 0];
    for (let age = ring.count - 1; age >= 0; age--) {
      const at = ring.offset(age);
      const place = at / ring.columns;
      const atMs = Number(this.#atMs[place]);
      if (atMs < fromMs || atMs > toMs) continue;
      const mark = this.#marks[place] ?? null;
      if (mark?.left) {
        trained ||= mark.label !== label;
        continue;
      }
      if (mark === null) this.#marks[place] = learn(ring.values.slice(at, at + ring.columns), label);
      else mark.label = label;
      rows++;
    }
    return { rows, trained, late: fromMs <= this.#goneAtMs };
  }

  /** Features and label of the newest labelled rows, at most `most`, newest first. */
  labelled(most: number): { readonly features: Float32Array; readonly label: 0 | 1 }[] {
    const ring = this.#features;
    const rows: { features: Float32Array; label: 0 | 1 }[] = [];
    for (let age = 0; age < ring.count && rows.length < most; age++) {
      const at = ring.offset(age);
      const label = this.#marks[at / ring.columns]?.label ?? null;
      if (label !== null) rows.push({ features: ring.values.subarray(at, at + ring.columns), label });
    }
    return rows;
  }

  #forget(place: number): void {
    const atMs = Number(this.#atMs[place]);
    const label = this.#marks[place]?.label ?? null;
    if (label === null) this.#goneAtMs = Math.max(this.#goneAtMs, atMs);
    else this.#goneLabelledAtMs[label] = atMs;
  }
}
