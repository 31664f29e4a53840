// The site's broker over mqtt.js: QoS 1 both ways, a retained status with a last will, nothing queued without bound.
import { Socket } from "node:net";
import { connect, type MqttClient } from "mqtt";
import { within } from "../../runtime/retry.ts";
import type { OutgoingMessage } from "../core/alert.ts";
import type { SiteCommand } from "../core/mapping/outcome.ts";
import type { Topic } from "../core/mapping/sensor-reader.ts";
import type { Broker, BrokerHandlers } from "../ports/broker.ts";
import { brokerFault } from "./broker-fault.ts";
import type { BrokerAddress } from "./broker-options.ts";

export interface MqttSettings {
  readonly address: BrokerAddress;
  readonly topics: readonly Topic[];
  /** What the broker says for the gateway when the gateway is gone; made for each connection. Null: nothing. */
  readonly will: (() => OutgoingMessage) | null;
  readonly nowMs: () => number;
}

const KEEPALIVE_SECONDS = 20;
const RECONNECT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 10_000;
const GOOD_BYE_MS = 500;

export class MqttBroker implements Broker {
  readonly #client: MqttClient;
  #receiving = true;
  /** From the broker's acceptance to the end of that connection: an attempt that fails is no connection that ended. */
  #accepted = false;

  constructor(settings: MqttSettings, handlers: BrokerHandlers) {
    const { name, url, options } = settings.address;
    const problem = (what: string) => handlers.onProblem(name, what);
    this.#client = connect(url, {
      clean: true,
      ...options,
      keepalive: KEEPALIVE_SECONDS,
      reconnectPeriod: RECONNECT_MS,
      reconnectOnConnackError: true, // a broker that refuses now may not refuse for ever
      connectTimeout: CONNECT_TIMEOUT_MS,
      queueQoSZero: false,
      writeCache: false, // 65,536 prepared two-byte buffers, 7 MB
      resubscribe: false,
      ...willOf(settings.will),
    });
    this.#client.on("reconnect", () => {
      Object.assign(this.#client.options, willOf(settings.will)); // emitted before the new connection is opened
    });
    this.#client.on("connect", () => {
      this.#accepted = true;
      // An alert would wait up to 40 ms for the acknowledgement of what was sent before it. Nagle 1984, RFC 896.
      if (this.#client.stream instanceof Socket) this.#client.stream.setNoDelay(true);
      const topics = Object.fromEntries(settings.topics.map(({ filter, qos }) => [filter, { qos }]));
      if (settings.topics.length > 0) {
        this.#client.subscribe(topics, (error) => {
          if (error) problem(`subscribing failed: ${error.message}`);
        });
      }
      handlers.onConnect();
    });
    this.#client.on("close", () => {
      const ended = this.#accepted && !this.#client.disconnecting;
      this.#accepted = false;
      if (ended) problem(connectionEnded(this.#client.options.clientId));
    });
    this.#client.on("error", (error) => problem(brokerFault(error)));
    this.#client.on("message", (messageTopic, bytes, packet) => {
      if (!this.#receiving) return;
      handlers.onMessage({
        broker: name,
        topic: messageTopic,
        payload: bytes,
        retained: packet.retain,
        receivedAtMs: settings.nowMs(),
      });
    });
    // Called after each message; the next one is not taken off the connection, nor this one answered, before `done`.
    this.#client.handleMessage = (_, done) => {
      const calm = this.#receiving ? handlers.whenCalm() : null;
      if (calm === null) done();
      else void calm.then(() => done());
    };
  }

  get connected(): boolean {
    return this.#client.connected;
  }

  async publish({ topic, payload, retain }: OutgoingMessage): Promise<void> {
    await this.#client.publishAsync(topic, payload, { qos: 1, retain });
  }

  command({ topic, payload }: SiteCommand): void {
    if (this.connected) this.#client.publish(topic, Buffer.from(payload), { qos: 0, retain: false });
  }

  stopReceiving(): void {
    this.#receiving = false;
  }

  /** With a good-bye, or the broker would tell the last will; a broker that froze and takes none is left without. */
  async close(): Promise<void> {
    await within(GOOD_BYE_MS, this.#client.endAsync(!this.#client.connected)).catch(() => undefined);
    this.#client.stream.destroy();
  }
}

/** A broker ends the older of two connections with one client id, and under MQTT 3.1.1 can't say that this was why. */
const connectionEnded = (clientId: string | undefined) =>
  `the connection ended, and is made again; if it ends every few seconds, another client has its id ${clientId}, which an agent has by --site and --gateway-id`;

function willOf(will: MqttSettings["will"]) {
  if (will === null) return {};
  const { topic, payload, retain } = will();
  return { will: { topic, payload: Buffer.from(payload), qos: 1 as const, retain } };
}
