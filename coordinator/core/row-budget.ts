// How many rows a gateway may have written in a minute.

/** What is remembered are the gateways of the current minute. */
export class RowBudget {
  readonly #rowsAMinute: number;
  readonly #taken = new Map<string, number>();
  #minute = Number.NaN;

  constructor(rowsAMinute: number) {
    this.#rowsAMinute = rowsAMinute;
  }

  /** False, and nothing is taken, when the gateway has fewer than `rows` left in this minute. */
  take(gateway: string, rows: number, nowMs: number): boolean {
    const minute = Math.floor(nowMs / 60_000);
    if (minute !== this.#minute) this.#taken.clear();
    this.#minute = minute;
    const taken = (this.#taken.get(gateway) ?? 0) + rows;
    if (taken > this.#rowsAMinute) return false;
    this.#taken.set(gateway, taken);
    return true;
  }
}
