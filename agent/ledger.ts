// The bytes of each day: written to flash and carried over the network, kept across restarts and measured against a budget.
import { added, type DayBytes, dayOf, type Withheld, withheld } from "./core/day-bytes.ts";
import { isRecent } from "./core/recent.ts";
import type { LedgerStore } from "./ports/agent-store.ts";
import type { ByteMeter } from "./ports/byte-meter.ts";

/** A kill costs what was counted since: the ledger is not to wear what it measures. */
const SAVE_MS = 300_000;

export interface LedgerDeps {
  readonly store: LedgerStore;
  readonly meter: Pick<ByteMeter, "take">;
  /** Both ways between gateway and coordinator; null: no limit. */
  readonly budgetBytes: number | null;
  readonly nowMs: () => number;
}

export class Ledger {
  readonly #deps: LedgerDeps;
  #day: string;
  #bytes: DayBytes;
  /** A day that is over and not saved yet. */
  #past: { readonly day: string; readonly bytes: DayBytes } | null = null;
  #savedAtMs: number;

  /** Takes up the day that was begun. */
  constructor(deps: LedgerDeps) {
    this.#deps = deps;
    this.#savedAtMs = deps.nowMs();
    this.#day = dayOf(this.#savedAtMs);
    this.#bytes = deps.store.day(this.#day);
  }

  /** As far as it has gone; what was carried since it was last asked for is of this day. */
  today(): DayBytes & { readonly day: string } {
    const day = dayOf(this.#deps.nowMs());
    if (day !== this.#day) {
      this.#past = { day: this.#day, bytes: this.#bytes };
      this.#day = day;
      this.#bytes = this.#deps.store.day(day); // a clock that was set back comes to a day that was begun
    }
    this.#bytes = added(this.#bytes, this.#deps.meter.take());
    return { day, ...this.#bytes };
  }

  /** What has to wait for tomorrow. */
  withheld(): readonly Withheld[] {
    return withheld(this.today(), this.#deps.budgetBytes);
  }

  /** To be called now and then; `now`: the last time. Throws when it can't be saved; it is tried again. */
  save(now = false): void {
    const nowMs = this.#deps.nowMs();
    const { day, ...bytes } = this.today();
    if (!now && this.#past === null && isRecent(this.#savedAtMs, nowMs, SAVE_MS)) return;
    this.#savedAtMs = nowMs;
    if (this.#past !== null) this.#deps.store.save(this.#past.day, this.#past.bytes);
    this.#past = null;
    this.#deps.store.save(day, bytes);
  }
}
