// Feedback that gateways acknowledged, told to the database together: one that is lost comes again on the next hello.
import type { FeedbackAcknowledgement, GatewayStore } from "../../ports/gateway-store.ts";

/** The newest of each gateway and cohort since they were last told. One telling at a time. */
export class Acknowledgements {
  readonly #store: Pick<GatewayStore, "acknowledgeFeedback">;
  readonly #newest = new Map<string, FeedbackAcknowledgement>();
  #underway: Promise<void> = Promise.resolve();
  /** Begins when that has ended, for all who have asked by then; null: nobody has. */
  #next: Promise<void> | null = null;

  constructor(store: Pick<GatewayStore, "acknowledgeFeedback">) {
    this.#store = store;
  }

  add(given: FeedbackAcknowledgement): void {
    const key = `${given.gatewayId} ${given.cohort}`;
    const known = this.#newest.get(key);
    if (known === undefined || known.globalVersion < given.globalVersion) this.#newest.set(key, given);
  }

  /**
   * To be called every moment; resolves when all that was added by now is told, by this call or by one under way. Rejects
   * as the store does, and what could not be told is not told again.
   */
  tell(): Promise<void> {
    this.#next ??= this.#underway
      .catch(() => undefined)
      .then(() => {
        this.#next = null;
        this.#underway = this.#tellNewest();
        return this.#underway;
      });
    return this.#next;
  }

  async #tellNewest(): Promise<void> {
    const told = [...this.#newest.values()];
    this.#newest.clear();
    if (told.length > 0) await this.#store.acknowledgeFeedback(told);
  }
}
