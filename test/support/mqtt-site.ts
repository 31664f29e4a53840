// A site's MQTT broker on a free port, and a client that publishes readings and keeps what the agent says.
import { createServer, type Server } from "node:net";
import { Aedes, type Client } from "aedes";
import { connectAsync, type MqttClient } from "mqtt";

export interface Heard {
  readonly topic: string;
  readonly text: string;
  readonly retain: boolean;
}

export interface CloudEvent {
  readonly specversion: string;
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly time: string;
  readonly severitytext: string;
  readonly data: {
    readonly alert_id: string;
    readonly state: string;
    readonly severity: string;
    readonly score: number;
    readonly threshold: number;
    readonly confidence: number;
    readonly count: number;
    readonly devices?: readonly string[];
    readonly contributors: readonly { channel: string; share: number; value: number; unit: string }[];
    readonly model: { kind: string; global_version: number };
    readonly global_version: number;
    readonly samples: number;
    readonly connected_at: string;
    readonly ack: { readonly action: string; readonly at: string } | null;
    readonly snoozed?: { readonly alerts: number; readonly until: Readonly<Record<string, string>> };
    readonly moved_thresholds?: { readonly devices: number; readonly factors: Readonly<Record<string, number>> };
  };
}

export class MqttSite {
  readonly url: string;
  readonly heard: Heard[] = [];
  readonly client: MqttClient;
  readonly #aedes: Aedes;
  readonly #server: Server;
  readonly #clients = new Map<string, Client>();

  private constructor(url: string, aedes: Aedes, server: Server, client: MqttClient) {
    this.url = url;
    this.client = client;
    this.#aedes = aedes;
    this.#server = server;
    aedes.on("clientReady", (other) => this.#clients.set(other.id, other));
    aedes.on("clientDisconnect", (other) => this.#clients.delete(other.id));
    client.on("message", (topic, payload, { retain }) => {
      this.heard.push({ topic, text: payload.toString(), retain });
    });
  }

  static async open(port = 0): Promise<MqttSite> {
    const aedes = await Aedes.createBroker();
    const server = createServer(aedes.handle);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the broker has no port");
    const url = `mqtt://127.0.0.1:${address.port}`;
    return new MqttSite(url, aedes, server, await connectAsync(url));
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  async listen(filter: string): Promise<void> {
    await this.client.subscribeAsync(filter, { qos: 1 });
  }

  async say(topic: string, body: unknown, retain = false): Promise<void> {
    await this.client.publishAsync(topic, typeof body === "string" ? body : JSON.stringify(body), { qos: 1, retain });
  }

  /** What came on topics that begin so, parsed. */
  events(prefix: string): { topic: string; retain: boolean; event: CloudEvent }[] {
    return this.heard
      .filter(({ topic, text }) => topic.startsWith(prefix) && text !== "")
      .map(({ topic, text, retain }) => ({ topic, retain, event: JSON.parse(text) as CloudEvent }));
  }

  has(clientId: string): boolean {
    return this.#clients.has(clientId);
  }

  /** The client's connection breaks without a good-bye. */
  drop(clientId: string): void {
    this.#clients.get(clientId)?.close();
  }

  async close(): Promise<void> {
    await this.client.endAsync(true);
    await new Promise<void>((resolve) => this.#aedes.close(() => resolve()));
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
