// An agent of one gateway between a site's broker and a scripted coordinator, closed when the test ends.
import { pino } from "pino";
import { afterEach } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { seededRandom } from "../../learning/random.ts";
import { eventually } from "./eventually.ts";
import { MqttSite } from "./mqtt-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "./scripted-coordinator.ts";
import { smallSettings } from "./small-plan.ts";
import { temporaryFolder } from "./temp.ts";

export const START_MS = Date.parse("2026-11-21T08:00:00Z");
export const COHORT = "pumps";
export const PLAN = testPlan(smallSettings());
export const WEIGHTS = PLAN.initialWeights.length;

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

/** At the test's end, if the test did not close it before. */
function closeOnce(opened: { close(): Promise<void> }): void {
  const close = opened.close.bind(opened);
  let closed: Promise<void> | null = null;
  opened.close = () => {
    closed ??= close();
    return closed;
  };
  cleanup.push(() => opened.close());
}

export async function openSite(port = 0): Promise<MqttSite> {
  const site = await MqttSite.open(port);
  closeOnce(site);
  return site;
}

export async function openCoordinator(port = 0): Promise<ScriptedCoordinator> {
  const coordinator = await ScriptedCoordinator.start(port);
  cleanup.push(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged(COHORT, PLAN), globalModel(COHORT, PLAN)];
  return coordinator;
}

interface Where {
  readonly site: MqttSite;
  readonly coordinator: ScriptedCoordinator | null;
  readonly folder?: string;
  readonly lines?: string[];
}

export async function openAgent({
  site,
  coordinator,
  folder = temporaryFolder("agent"),
  lines = [],
}: Where): Promise<Agent> {
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator?.port ?? 1}`,
    FLEAD_DATA_DIR: folder,
    FLEAD_COHORTS: `${COHORT}=pump-*`,
  });
  await site.listen("flead/v1/north/gw-1/#");
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  closeOnce(agent);
  await eventually("the agent is online", () => (statusOf(site) === "online" ? true : undefined));
  return agent;
}

export const statusOf = (site: MqttSite) => site.events("flead/v1/north/gw-1/status").at(-1)?.event.data.state;

/** A pump whose current follows its flow; a fault shifts the current. */
export class Pump {
  readonly #random = seededRandom(3);
  readonly #site: MqttSite;
  readonly #id: string;
  readonly #everyMs: number;
  #rows = 0;

  constructor(site: MqttSite, { id = "pump-1", everyMs = 1000 } = {}) {
    this.#site = site;
    this.#id = id;
    this.#everyMs = everyMs;
  }

  async run(rows: number, { fault = 0 } = {}): Promise<void> {
    for (let row = 0; row < rows; row++) await this.say(this.next(fault));
  }

  next(fault = 0): Record<string, unknown> {
    const flow = 30 + 2 * this.#random.normal();
    const current = flow / 10 + 0.05 * this.#random.normal() + fault;
    const timestamp = new Date(START_MS + this.#everyMs * this.#rows++).toISOString();
    return { timestamp, flow, current, label: fault === 0 ? 0 : 1 };
  }

  async say(body: unknown, retain = false): Promise<void> {
    await this.#site.say(`flead/v1/north/${this.#id}/telemetry`, body, retain);
  }
}

export const updatesOf = (coordinator: ScriptedCoordinator, count: number) =>
  eventually(`${count} updates`, () => (coordinator.updates.length >= count ? coordinator.updates : undefined), 15_000);

export const addedTo = (weights: Float32Array, deltas: readonly Float32Array[]) =>
  weights.map((weight, index) => deltas.reduce((sum, delta) => sum + (delta[index] ?? 0), weight));

export const sessions = (coordinator: ScriptedCoordinator, count: number) =>
  eventually(`session ${count}`, () => (coordinator.hellos.length >= count ? true : undefined), 15_000);

export const activated = (site: MqttSite, version: number) =>
  eventually(`version ${version} is active`, () =>
    site.events("flead/v1/north/gw-1/model/activated").some(({ event }) => event.data.global_version === version)
      ? true
      : undefined,
  );

export const alerts = (site: MqttSite, count: number) =>
  eventually(`${count} alert events`, () => {
    const events = site.events("flead/v1/north/gw-1/event/pump-1/").map(({ event }) => event);
    return events.length >= count ? events : undefined;
  });
