// Which alerts operators want to hear nothing of for a while, kept across restarts.
import { isRecent } from "./core/recent.ts";
import type { AgentStore, Snooze } from "./ports/agent-store.ts";

const LONGEST_MS = 7 * 86_400_000;

interface HeldSnooze {
  readonly snooze: Snooze;
  /** By the clock that is never set. */
  readonly fromMs: number;
  readonly forMs: number;
}

/** At most one a device and model. `nowMs` is monotonic: epoch milliseconds when the process began, and counted on since. */
export class Snoozes {
  readonly #store: AgentStore;
  readonly #nowMs: () => number;
  readonly #snoozes = new Map<string, HeldSnooze>();

  constructor(store: AgentStore, nowMs: () => number) {
    this.#store = store;
    this.#nowMs = nowMs;
    for (const snooze of store.alerts.snoozes()) this.#hold(snooze, snooze.untilMs - nowMs());
  }

  has(alert: Pick<Snooze, "deviceId" | "kind">): boolean {
    const held = this.#snoozes.get(keyOf(alert));
    return held !== undefined && this.#lasts(held);
  }

  /** The next to end first. */
  inForce(): Snooze[] {
    const held = [...this.#snoozes.values()].filter((snooze) => this.#lasts(snooze));
    return held.map(({ snooze }) => snooze).sort((a, b) => a.untilMs - b.untilMs);
  }

  /**
   * In place of what was said before; `untilMs` null ends it. `saidAtMs` is by the same clock as `untilMs`. `alongside` becomes durable with it.
   * Throws, and nothing has changed, when that can't be done.
   */
  set(alert: Pick<Snooze, "deviceId" | "kind">, untilMs: number | null, saidAtMs: number, alongside: () => void): void {
    const snooze = untilMs === null ? null : { ...alert, untilMs };
    this.#store.transaction(() => {
      if (snooze === null) this.#store.alerts.endSnooze(alert);
      else this.#store.alerts.saveSnooze(snooze);
      alongside();
    });
    if (snooze === null) this.#snoozes.delete(keyOf(alert));
    else this.#hold(snooze, snooze.untilMs - saidAtMs);
  }

  /** Forgets those that are over. */
  endDue(): void {
    for (const [key, held] of this.#snoozes) {
      if (this.#lasts(held)) continue;
      this.#store.alerts.endSnooze(held.snooze);
      this.#snoozes.delete(key);
    }
  }

  #hold(snooze: Snooze, forMs: number): void {
    this.#snoozes.set(keyOf(snooze), { snooze, fromMs: this.#nowMs(), forMs: Math.min(forMs, LONGEST_MS) });
  }

  #lasts({ fromMs, forMs }: HeldSnooze): boolean {
    return isRecent(fromMs, this.#nowMs(), forMs);
  }
}

const keyOf = ({ deviceId, kind }: Pick<Snooze, "deviceId" | "kind">) => `${deviceId}/${kind}`;
