// A site on real brokers: the agent of one gateway in this process, a pump that says rows, and a client that hears the agent.
import { connectAsync, type MqttClient } from "mqtt";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import type { GatewayClock } from "../../agent/ports/clock.ts";
import { seededRandom } from "../../learning/random.ts";
import type { CloudEvent } from "./mqtt-site.ts";

/** What the agent's own topics begin with. */
export const BASE = "flead/v1/hall-1/gw-1";
export const START_MS = Date.parse("2026-01-01T08:00:00Z");

interface Said {
  readonly topic: string;
  readonly text: string;
}

/** Hears all, again after each connection, and speaks. */
export class SiteClient {
  readonly heard: Said[] = [];
  readonly #client: MqttClient;

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, payload) => this.heard.push({ topic, text: payload.toString() }));
  }

  /** Listens when it resolves. */
  static async open(url: string, filters: readonly string[]): Promise<SiteClient> {
    const client = await connectAsync(url, { reconnectPeriod: 100 });
    onTestFinished(() => client.endAsync(true));
    const opened = new SiteClient(client);
    await client.subscribeAsync([...filters], { qos: 1 });
    return opened;
  }

  async say(topic: string, body: unknown, { retain = false, dup = false } = {}): Promise<void> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    await this.#client.publishAsync(topic, text, { qos: 1, retain, dup });
  }

  on(topic: string): Said[] {
    return this.heard.filter((each) => each.topic === topic);
  }

  events(topic: string): CloudEvent[] {
    return this.on(topic).flatMap(({ text }) => (text === "" ? [] : [JSON.parse(text) as CloudEvent]));
  }
}

interface AgentSettings {
  readonly url?: string;
  readonly folder: string;
  readonly variables?: Readonly<Record<string, string>>;
  readonly clock?: GatewayClock;
}

/** Of gateway gw-1 at hall-1; closed with the test, if the test did not. */
export async function openAgent({ url, folder, variables = {}, clock }: AgentSettings): Promise<Agent> {
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_SITE: "hall-1",
    FLEAD_MQTT_URL: url,
    FLEAD_COORDINATOR: "127.0.0.1:1",
    FLEAD_DATA_DIR: folder,
    FLEAD_AGENT_HTTP: "off",
    ...variables,
  });
  const agent = await startAgent(config, pino({ level: "silent" }), clock);
  let closing: Promise<void> | null = null;
  const close = agent.close.bind(agent);
  agent.close = () => {
    closing ??= close();
    return closing;
  };
  onTestFinished(() => agent.close());
  return agent;
}

interface PumpSettings {
  readonly id?: string;
  readonly everyMs?: number;
  /** Before each row is said. */
  readonly beforeRow?: (atMs: number) => void;
}

/** A pump that says a row every ten seconds of its own time. */
export class Pump {
  readonly #random = seededRandom(3);
  readonly #site: SiteClient;
  readonly #settings: Required<PumpSettings>;
  #rows = 0;

  constructor(site: SiteClient, { id = "pump-1", everyMs = 10_000, beforeRow = () => undefined }: PumpSettings = {}) {
    this.#site = site;
    this.#settings = { id, everyMs, beforeRow };
  }

  async run(rows: number, fault = 0): Promise<void> {
    const { id, everyMs, beforeRow } = this.#settings;
    for (let row = 0; row < rows; row++) {
      const atMs = START_MS + everyMs * this.#rows++;
      beforeRow(atMs);
      const current = 3 + 0.05 * this.#random.normal() + fault;
      await this.#site.say(`flead/v1/hall-1/${id}/telemetry`, {
        timestamp: new Date(atMs).toISOString(),
        telemetry: { current: { value: current, unit: "A" } },
      });
    }
  }
}
