// Whether sensor messages come and rows are judged, by a clock that only goes forward.
import type { Intake } from "./core/health.ts";

export class IntakeWatch {
  readonly #nowMs: () => number;
  #intake: Intake | null = null;
  #unjudgedSinceMs: number | null = null;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get intake(): Intake | null {
    return this.#intake;
  }

  /** Since when rows wait and none of them was judged; null: none wait. */
  get unjudgedSinceMs(): number | null {
    return this.#unjudgedSinceMs;
  }

  arrived(): void {
    const lastAtMs = this.#nowMs();
    const { messages, firstAtMs } = this.#intake ?? { messages: 0, firstAtMs: lastAtMs };
    this.#intake = { messages: messages + 1, firstAtMs, lastAtMs };
  }

  /** After a row came, or some were judged. */
  waiting(rows: number, { judged }: { readonly judged: boolean }): void {
    if (rows === 0) this.#unjudgedSinceMs = null;
    else if (judged || this.#unjudgedSinceMs === null) this.#unjudgedSinceMs = this.#nowMs();
  }
}
