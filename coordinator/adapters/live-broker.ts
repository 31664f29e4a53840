// The broker that reference gateways publish to, over mqtt.js: it only listens.
import { readFile } from "node:fs/promises";
import { connect, type MqttClient } from "mqtt";
import type { SensorMessage } from "../../learning/telemetry/message.ts";
import type { LiveBroker, LiveBrokerHandlers } from "../ports/live-broker.ts";

export interface BrokerAccess {
  readonly url: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** PEM of whom the broker's certificate is trusted by; undefined: the public authorities. */
  readonly ca: string | undefined;
}

export interface LiveBrokerSettings extends BrokerAccess {
  /** Another one than any other client's. */
  readonly clientId: string;
  readonly nowMs: () => number;
}

interface BrokerFiles {
  readonly url: string;
  /** Paths; undefined: none is used. */
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly ca: string | undefined;
}

/** Throws Error naming a file that can't be read. Whitespace at the end of a name or password is not part of it. */
export async function readBrokerAccess({ url, user, password, ca }: BrokerFiles): Promise<BrokerAccess> {
  const read = async (path: string | undefined) =>
    path === undefined ? undefined : (await readFile(path, "utf8")).trimEnd();
  return { url, username: await read(user), password: await read(password), ca: await read(ca) };
}

const KEEPALIVE_SECONDS = 20;
const RECONNECT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 10_000;

export class MqttLiveBroker implements LiveBroker {
  readonly #client: MqttClient;
  readonly #handlers: LiveBrokerHandlers;
  #topics: ReadonlySet<string> = new Set();

  constructor({ url, username, password, ca, clientId, nowMs }: LiveBrokerSettings, handlers: LiveBrokerHandlers) {
    this.#handlers = handlers;
    this.#client = connect(url, {
      clientId,
      clean: true,
      keepalive: KEEPALIVE_SECONDS,
      reconnectPeriod: RECONNECT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      queueQoSZero: false,
      writeCache: false, // 65,536 prepared two-byte buffers, 7 MB
      resubscribe: false, // each connection is told all topics below: a broker that restarted knows of none
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(ca === undefined ? {} : { ca }),
    });
    this.#client.on("connect", () => this.#subscribe([...this.#topics]));
    this.#client.on("error", (error) => handlers.onProblem(error.message || String(error)));
    this.#client.on("message", (topic, payload, { retain }) => {
      const message: SensorMessage = { topic, payload, retained: retain, receivedAtMs: nowMs() };
      handlers.onMessage(message);
    });
  }

  follow(topics: ReadonlySet<string>): void {
    const added = [...topics].filter((topic) => !this.#topics.has(topic));
    const gone = [...this.#topics].filter((topic) => !topics.has(topic));
    this.#topics = topics;
    if (!this.#client.connected) return;
    this.#subscribe(added);
    if (gone.length > 0) this.#client.unsubscribe(gone);
  }

  /** Without a goodbye, which nothing depends on: a broker that froze would never let go. */
  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }

  #subscribe(topics: string[]): void {
    if (topics.length === 0) return;
    this.#client.subscribe(topics, { qos: 1 }, (error) => {
      if (error) this.#handlers.onProblem(`subscribing failed: ${error.message}`);
    });
  }
}
