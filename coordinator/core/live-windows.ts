// Labelled rows of a live stream in windows of row time; a window closes when the watermark has passed its end.
import type { LiveStreamSettings } from "../../learning/plan.ts";

export interface LiveRow {
  readonly atMs: number;
  /** In the plan's channel order; NaN: missing. */
  readonly values: Float64Array;
  /** 1 = anomaly; null: nobody has said. */
  readonly label: 0 | 1 | null;
}

/** Of all rows from one time to another, both included. */
export interface LiveLabels {
  readonly label: 0 | 1;
  readonly fromMs: number;
  readonly toMs: number;
}

/** What was not used since the window before closed. */
export interface LiveLosses {
  /** Of windows that had closed. */
  readonly lateRows: number;
  readonly lateLabels: number;
  /** From ahead of the clock, for the second time, or beyond the bounds. */
  readonly droppedRows: number;
  readonly droppedLabels: number;
}

export interface ClosedWindow {
  /** Half open: [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** By time; at least one. */
  readonly rows: readonly LiveRow[];
  readonly losses: LiveLosses;
}

export type LiveVerdict = "taken" | "late" | "ahead" | "duplicate" | "full";

export const MAX_ROWS_A_WINDOW = 4_096;
/** In memory, of windows that are still open. */
const MAX_OPEN_ROWS = 16_384;
const MAX_OPEN_LABELS = 16_384;
/** A row time further ahead of the clock is a clock that jumped: it must not close what is still being filled. */
const AHEAD_MS = 60_000;

const NO_LOSSES: LiveLosses = { lateRows: 0, lateLabels: 0, droppedRows: 0, droppedLabels: 0 };

/**
 * What closes depends on rows alone: rows and labels that come within the lateness make the same windows in whatever
 * order they come, as long as no bound is met. A label by time stands over one that a row brought; of two the later word.
 */
export class LiveWindows {
  readonly #settings: Pick<LiveStreamSettings, "windowMs" | "latenessMs">;
  /** By window start, then by row time. */
  readonly #open = new Map<number, Map<number, LiveRow>>();
  #openRows = 0;
  #labels: LiveLabels[] = [];
  #newestMs = Number.NEGATIVE_INFINITY;
  /** Windows that end by then are closed, and stay as they are. */
  #closedUntilMs: number;
  #losses = NO_LOSSES;

  /** `closedUntilMs`: the end of the last window that is stored; null: there is none. */
  constructor(settings: Pick<LiveStreamSettings, "windowMs" | "latenessMs">, closedUntilMs: number | null) {
    this.#settings = settings;
    this.#closedUntilMs = closedUntilMs ?? Number.NEGATIVE_INFINITY;
  }

  addRow(row: LiveRow, receivedAtMs: number): LiveVerdict {
    const verdict = this.#take(row, receivedAtMs);
    if (verdict === "late") this.#lose("lateRows");
    else if (verdict !== "taken") this.#lose("droppedRows");
    return verdict;
  }

  addLabels(labels: LiveLabels, receivedAtMs: number): LiveVerdict {
    if (labels.toMs > receivedAtMs + AHEAD_MS || this.#labels.length >= MAX_OPEN_LABELS) {
      this.#lose("droppedLabels");
      return this.#labels.length >= MAX_OPEN_LABELS ? "full" : "ahead";
    }
    const late = labels.fromMs < this.#closedUntilMs;
    if (late) this.#lose("lateLabels");
    if (labels.toMs >= this.#closedUntilMs) this.#labels.push(labels);
    return late ? "late" : "taken";
  }

  /** Those that the watermark has passed, oldest first. */
  close(): ClosedWindow[] {
    const { windowMs, latenessMs } = this.#settings;
    const untilMs = Math.floor((this.#newestMs - latenessMs) / windowMs) * windowMs;
    if (!(untilMs > this.#closedUntilMs)) return [];
    const due = [...this.#open.keys()].filter((startMs) => startMs + windowMs <= untilMs).sort((a, b) => a - b);
    const closed = due.map((startMs) => this.#closeOne(startMs));
    this.#closedUntilMs = untilMs;
    this.#labels = this.#labels.filter(({ toMs }) => toMs >= untilMs);
    return closed;
  }

  #take(row: LiveRow, receivedAtMs: number): LiveVerdict {
    if (row.atMs > receivedAtMs + AHEAD_MS) return "ahead";
    const { windowMs } = this.#settings;
    const startMs = Math.floor(row.atMs / windowMs) * windowMs;
    if (startMs < this.#closedUntilMs) return "late";
    // Time has passed whether or not there is room for the row.
    this.#newestMs = Math.max(this.#newestMs, row.atMs);
    const rows = this.#open.get(startMs) ?? new Map<number, LiveRow>();
    if (rows.has(row.atMs)) return "duplicate";
    if (rows.size >= MAX_ROWS_A_WINDOW || this.#openRows >= MAX_OPEN_ROWS) return "full";
    this.#open.set(startMs, rows.set(row.atMs, row));
    this.#openRows++;
    return "taken";
  }

  #closeOne(startMs: number): ClosedWindow {
    const endMs = startMs + this.#settings.windowMs;
    const rows = [...(this.#open.get(startMs)?.values() ?? [])].sort((a, b) => a.atMs - b.atMs);
    this.#open.delete(startMs);
    this.#openRows -= rows.length;
    const said = this.#labels.filter(({ fromMs, toMs }) => fromMs < endMs && toMs >= startMs);
    const losses = this.#losses;
    this.#losses = NO_LOSSES;
    return { startMs, endMs, rows: rows.map((row) => ({ ...row, label: labelFrom(said, row) })), losses };
  }

  #lose(what: keyof LiveLosses): void {
    this.#losses = { ...this.#losses, [what]: this.#losses[what] + 1 };
  }
}

function labelFrom(said: readonly LiveLabels[], { atMs, label }: LiveRow): 0 | 1 | null {
  return said.findLast(({ fromMs, toMs }) => fromMs <= atMs && atMs <= toMs)?.label ?? label;
}
