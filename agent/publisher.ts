// Alerts from the journal to the broker: in order, each removed only once the broker has it.
import type { AlertStore } from "./ports/agent-store.ts";
import type { Broker } from "./ports/broker.ts";

/** At most one message is on its way; what a restart interrupts is sent again. */
export class Publisher {
  readonly #alerts: AlertStore;
  readonly #broker: () => Broker;
  #publishing = false;

  constructor(alerts: AlertStore, broker: () => Broker) {
    this.#alerts = alerts;
    this.#broker = broker;
  }

  /** The journal grew, or the broker came back. */
  async wake(): Promise<void> {
    if (this.#publishing) return;
    this.#publishing = true;
    try {
      while (this.#broker().connected) {
        const [next] = this.#alerts.queuedMessages(1);
        if (next === undefined) return;
        await this.#broker().publish(next.message);
        this.#alerts.removeMessage(next.sequence);
      }
    } catch {
      // The client is closing: the journal keeps the message.
    } finally {
      this.#publishing = false;
    }
  }
}
