// Feedback that gateways acknowledged, told to the database together: one that is lost comes again on the next hello.
import type { FeedbackAcknowledgement, GatewayStore } from "../../ports/gateway-store.ts";

/** The newest of each gateway and cohort since they were last told. */
export class Acknowledgements {
  readonly #store: Pick<GatewayStore, "acknowledgeFeedback">;
  readonly #newest = new Map<string, FeedbackAcknowledgement>();

  constructor(store: Pick<GatewayStore, "acknowledgeFeedback">) {
    this.#store = store;
  }

  add(given: FeedbackAcknowledgement): void {
    const key = `${given.gatewayId} ${given.cohort}`;
    const known = this.#newest.get(key);
    if (known === undefined || known.globalVersion < given.globalVersion) this.#newest.set(key, given);
  }

  /** To be called every moment. Rejects as the store does, and what could not be told is not told again. */
  async tell(): Promise<void> {
    const told = [...this.#newest.values()];
    this.#newest.clear();
    if (told.length > 0) await this.#store.acknowledgeFeedback(told);
  }
}
