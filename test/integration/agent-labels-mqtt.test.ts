import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { seededRandom } from "../../learning/random.ts";
import { eventually } from "../support/eventually.ts";
import { labelledSettings } from "../support/labelled-plan.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { temporaryFolder } from "../support/temp.ts";

const START_MS = Date.parse("2026-11-21T08:00:00Z");
const COHORT = "pumps";
const PLAN = testPlan(labelledSettings());
const BASE = "flead/v1/north/gw-1";
const ACK = `${BASE}/alert/pump-1/federated/ack`;

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

async function openAgent(
  site: MqttSite,
  coordinator: ScriptedCoordinator,
  folder: string,
  lines: string[],
): Promise<Agent> {
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
    FLEAD_DATA_DIR: folder,
    FLEAD_COHORTS: `${COHORT}=pump-*`,
  });
  const sessions = coordinator.hellos.length;
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  let closing: Promise<void> | null = null;
  const close = agent.close.bind(agent);
  agent.close = () => {
    closing ??= close();
    return closing;
  };
  cleanup.push(() => agent.close());
  await eventually("the agent is online", () =>
    site.events(`${BASE}/status`).at(-1)?.event.data.state === "online" ? true : undefined,
  );
  await eventually("a session", () => (coordinator.hellos.length > sessions ? true : undefined));
  return agent;
}

async function open() {
  const site = await MqttSite.open();
  cleanup.push(() => site.close());
  const coordinator = await ScriptedCoordinator.start();
  cleanup.push(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged(COHORT, PLAN), globalModel(COHORT, PLAN)];
  await site.listen(`${BASE}/#`);
  const [folder, lines] = [temporaryFolder("agent-labels-mqtt"), [] as string[]];
  const agent = await openAgent(site, coordinator, folder, lines);
  await activated(site, 1);
  return { site, coordinator, folder, lines, agent };
}

const activated = (site: MqttSite, version: number) =>
  eventually(`version ${version} is active`, () =>
    site.events(`${BASE}/model/activated`).find(({ event }) => event.data.global_version === version),
  );

const iso = (row: number) => new Date(START_MS + 10_000 * row).toISOString();

/** A pump whose current follows its flow, a row every ten seconds; its flow is told to a number that is easily found. */
class Pump {
  readonly #random = seededRandom(3);
  readonly #site: MqttSite;
  rows = 0;

  constructor(site: MqttSite) {
    this.#site = site;
  }

  async run(rows: number, fault = 0, said: Readonly<Record<string, unknown>> = {}): Promise<void> {
    for (let row = 0; row < rows; row++) {
      await this.#site.say("flead/v1/north/pump-1/telemetry", { ...this.next(fault), ...said });
    }
  }

  next(fault = 0): Record<string, unknown> {
    const flow = Number(`${(30 + 2 * this.#random.normal()).toFixed(3)}271828`);
    const current = flow / 10 + 0.05 * this.#random.normal() + fault;
    return { timestamp: iso(this.rows++), flow, current };
  }
}

/** As from the broker, but without a turn of the event loop between two messages. */
function receive(agent: Agent, last: "label" | "telemetry", body: unknown): void {
  const payload = new TextEncoder().encode(JSON.stringify(body));
  agent.receive({
    broker: "b",
    topic: `flead/v1/north/pump-1/${last}`,
    payload,
    retained: false,
    receivedAtMs: START_MS,
  });
}

const updatesOf = (coordinator: ScriptedCoordinator, count: number) =>
  eventually(`${count} updates`, () => (coordinator.updates.length >= count ? coordinator.updates : undefined), 15_000);

const logged = (lines: readonly string[], text: string) =>
  eventually(text, () => lines.find((line) => line.includes(text)));

const alerts = (site: MqttSite, kind: string, count: number) =>
  eventually(`${count} alerts that were ${kind}`, () => {
    const said = site.events(`${BASE}/event/pump-1/federated`).map(({ event }) => event);
    const some = said.filter(({ type }) => type === `flead.anomaly.${kind}.v1`);
    return some.length >= count ? some : undefined;
  });

/** Of the gateway's status, once so many devices have one that operators moved. */
const thresholds = (site: MqttSite, devices: number) =>
  eventually(`${devices} thresholds moved`, () => {
    const moved = site.events(`${BASE}/status`).at(-1)?.event.data.moved_thresholds;
    return moved?.devices === devices ? moved : undefined;
  });

/** What hold readings by their meaning: the causes of an alert, and a window's extremes and last value. */
const HOLD_READINGS = ["contributors", "summaries"];

/** What went to the coordinator, as text, but for those. */
const heardBy = ({ heard }: ScriptedCoordinator) =>
  JSON.stringify(heard, (key, value) =>
    typeof value === "bigint" ? String(value) : HOLD_READINGS.includes(key) ? [] : value,
  );

test("labels in a field and on the topic make updates, unlabelled rows none, and no reading or label leaves", async () => {
  const { site, coordinator, lines, agent } = await open();
  const pump = new Pump(site);
  await pump.run(60);
  await pump.run(10, 0, { label: 0 });
  await pump.run(10, 4, { Is_Anomaly: true });
  const [first] = await updatesOf(coordinator, 1);
  expect(first).toMatchObject({ samples: 20n, baseVersion: 1n });
  await site.say("flead/v1/north/pump-1/label", { label: 0, from: iso(20), to: iso(39) });
  expect((await updatesOf(coordinator, 2))[1]).toMatchObject({ samples: 20n });
  await site.say("flead/v1/north/pump-1/label", "{");
  await site.say("flead/v1/north/pump-9/label", { label: 1, from: iso(20), to: iso(39) });
  await site.say("flead/v1/north/pump-1/label", { label: 1, from: iso(500), to: iso(501) });
  await pump.run(1, 0, { label: "maybe" });
  for (const kind of ["malformed_json", "unknown_device", "future_label", "bad_label"]) await logged(lines, kind);
  for (let flood = 0; flood < 1500; flood++) receive(agent, "label", { label: 1, from: iso(900), to: iso(901) });
  await logged(lines, "queue_full");
  await pump.run(19, 4);
  await pump.run(20, 0, { anomaly: 0 });
  expect((await updatesOf(coordinator, 3)).map(({ samples }) => samples)).toEqual([20n, 20n, 20n]);
  const said = heardBy(coordinator);
  expect(said).not.toMatch(/271828|"label"|"y"/);
  expect(Object.keys(first ?? {}).sort()).toEqual(
    "baseVersion cohort delta encoding localSteps loss planId roundId samples updateId".split(" "),
  );
});

test("labels wait for the rows that came before them", async () => {
  const { site, coordinator, agent } = await open();
  const pump = new Pump(site);
  await pump.run(20);
  for (let row = 0; row < 25; row++) receive(agent, "telemetry", pump.next());
  receive(agent, "label", { label: 0, from: iso(20), to: iso(44) });
  expect((await updatesOf(coordinator, 1))[0]).toMatchObject({ samples: 25n });
});

/** By its current in the window alone: .5 lies between a fault and every healthy row. */
function champion(): Float32Array {
  const weights = new Float32Array(PLAN.initialWeights.length);
  weights[1] = 1;
  weights[weights.length - 1] = -2;
  return weights;
}

test("a false alarm said over MQTT raises the device's threshold once, also after a restart", async () => {
  const { site, coordinator, folder, lines, agent } = await open();
  const pump = new Pump(site);
  await pump.run(60);
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, trained: true, weights: champion() }));
  await activated(site, 2);
  await pump.run(10, 4);
  await pump.run(80);
  const [cleared] = await alerts(site, "cleared", 1);
  const { alert_id: id, score = 0 } = cleared?.data ?? {};
  expect(cleared?.data.threshold).toBe(0.5);
  await site.say(ACK, { action: "false_alarm", alert_id: id }, true);
  await site.say(ACK, { action: "ignore" });
  await logged(lines, '\\"acknowledge\\", \\"confirm\\", \\"false_alarm\\", \\"snooze\\"');
  for (let time = 0; time < 3; time++) await site.say(ACK, { action: "false_alarm" });
  const [acked] = await alerts(site, "acked", 1);
  expect(acked?.data).toMatchObject({ alert_id: id, state: "cleared", ack: { action: "false_alarm" } });
  const factor = Math.min(2, (1.01 * score) / 0.5);
  const moved = await thresholds(site, 1);
  expect(moved).toEqual({ devices: 1, factors: { "pump-1": expect.closeTo(factor, 6) } });
  const states = site.events(`${BASE}/alert/pump-1/federated`).filter(({ topic }) => !topic.endsWith("/ack"));
  expect(states.at(-1)?.event).toMatchObject({ type: "flead.anomaly.acked.v1", data: { alert_id: id } });
  await agent.close();
  coordinator.greeting = [];
  await openAgent(site, coordinator, folder, lines);
  await logged(lines, "a retained message is of unknown age");
  await pump.run(20, 3.5);
  await pump.run(80);
  await pump.run(10, 60);
  const raised = await alerts(site, "raised", 2);
  expect(raised).toHaveLength(2);
  expect(raised[1]?.data.threshold).toBeCloseTo(Math.min(0.99, 1.01 * score), 6);
  // Not of the smaller fault, which would have raised one before.
  expect(raised[1]?.data.score).toBeGreaterThan(0.95);
  expect(await alerts(site, "acked", 1)).toHaveLength(1);
  expect((await thresholds(site, 1)).factors).toEqual(moved.factors);
  await site.say(ACK, { action: "reset_threshold" });
  expect((await alerts(site, "acked", 2))[1]?.data).toMatchObject({
    threshold: 0.5,
    ack: { action: "reset_threshold" },
  });
  expect(await thresholds(site, 0)).toEqual({ devices: 0, factors: {} });
  expect(heardBy(coordinator)).not.toMatch(/271828|"label"|"y"/);
});
