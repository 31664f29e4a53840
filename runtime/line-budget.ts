// How many lines a log may take, so that what goes wrong over and over does not fill the disk.

const MINUTE_MS = 60_000;

/** At most so many lines in a minute, counted from its first one; what was left out is told with the next minute. */
export class LineBudget {
  readonly #linesAMinute: number;
  readonly #nowMs: () => number;
  #beganAtMs = Number.NEGATIVE_INFINITY;
  #lines = 0;

  /** `nowMs`: of a clock that only goes forward. */
  constructor(linesAMinute: number, nowMs: () => number) {
    this.#linesAMinute = linesAMinute;
    this.#nowMs = nowMs;
  }

  /** Whether the line may be written; `leftOut`: how many were not in the minute that this line ends. */
  take(): { readonly allowed: boolean; readonly leftOut: number } {
    const nowMs = this.#nowMs();
    if (nowMs - this.#beganAtMs < MINUTE_MS) return { allowed: ++this.#lines <= this.#linesAMinute, leftOut: 0 };
    const leftOut = Math.max(0, this.#lines - this.#linesAMinute);
    this.#beganAtMs = nowMs;
    this.#lines = 1;
    return { allowed: true, leftOut };
  }
}
