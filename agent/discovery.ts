// Tells Home Assistant of the gateway's devices: all on every connection and whenever it starts, new ones as they come.
import type { DeviceId } from "../learning/ids.ts";
import type { OutgoingMessage } from "./core/alert.ts";
import { type DiscoverySubject, discoveryMessage, discoveryTopic, forgotten } from "./core/home-assistant.ts";
import type { AlertStore } from "./ports/agent-store.ts";
import type { Broker } from "./ports/broker.ts";

export interface DiscoveryDeps {
  /** Null: Home Assistant is told of nothing, and what it was told of before is taken back. */
  readonly subject: DiscoverySubject | null;
  readonly devices: () => readonly DeviceId[];
  readonly store: Pick<AlertStore, "discovered" | "addDiscovered" | "removeDiscovered">;
  readonly broker: () => Broker;
}

/** At most one message is on its way, and none is kept for a broker that is away: it is told all when it is back. */
export class Discovery {
  readonly #deps: DiscoveryDeps;
  /** Topics told since Home Assistant or the connection began. */
  readonly #told = new Set<string>();
  #telling: Promise<void> | null = null;
  #again = false;

  constructor(deps: DiscoveryDeps) {
    this.#deps = deps;
  }

  /** Whoever listens now may know of nothing yet. Never rejects. */
  tellAll(): Promise<void> {
    this.#told.clear();
    return this.tellNew();
  }

  /** What came since, and what is gone. Never rejects. */
  tellNew(): Promise<void> {
    this.#again = true;
    this.#telling ??= this.#tell().finally(() => {
      this.#telling = null;
    });
    return this.#telling;
  }

  async #tell(): Promise<void> {
    try {
      while (this.#again && this.#deps.broker().connected) {
        this.#again = false;
        await this.#tellDue();
      }
    } catch {
      // The client is closing, or the file can't be written: it is told with the next connection.
    }
  }

  async #tellDue(): Promise<void> {
    const { store, broker } = this.#deps;
    const wanted = this.#wanted();
    const known = new Set(store.discovered());
    for (const topic of known) {
      if (wanted.has(topic)) continue;
      await broker().publish(forgotten(topic));
      store.removeDiscovered(topic);
      this.#told.delete(topic);
    }
    for (const [topic, message] of wanted) {
      if (this.#told.has(topic)) continue;
      this.#told.add(topic);
      if (!known.has(topic)) store.addDiscovered(topic);
      await broker().publish(message());
    }
  }

  /** By topic. */
  #wanted(): ReadonlyMap<string, () => OutgoingMessage> {
    const { subject, devices } = this.#deps;
    if (subject === null) return new Map();
    return new Map(
      [null, ...devices()].map((device) => [discoveryTopic(subject, device), () => discoveryMessage(subject, device)]),
    );
  }
}
