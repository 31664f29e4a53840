// Several brokers as one: all are listened to, one has the alerts.
import type { OutgoingMessage } from "../core/alert.ts";
import type { SiteCommand } from "../core/mapping/outcome.ts";
import type { Broker } from "../ports/broker.ts";

export class Brokers implements Broker {
  readonly #brokers: ReadonlyMap<string, Broker>;
  readonly #alerts: Broker;

  constructor(brokers: ReadonlyMap<string, Broker>, alerts: Broker) {
    this.#brokers = brokers;
    this.#alerts = alerts;
  }

  get connected(): boolean {
    return this.#alerts.connected;
  }

  publish(message: OutgoingMessage): Promise<void> {
    return this.#alerts.publish(message);
  }

  command(command: SiteCommand): void {
    this.#brokers.get(command.broker)?.command(command);
  }

  stopReceiving(): void {
    for (const broker of this.#brokers.values()) broker.stopReceiving();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()));
  }
}
