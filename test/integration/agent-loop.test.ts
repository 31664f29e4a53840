import { join } from "node:path";
import Database from "better-sqlite3";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { seededRandom } from "../../learning/random.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { decodeWeights } from "../../proto/weights.ts";
import { eventually } from "../support/eventually.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { feedback, globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const START_MS = Date.parse("2026-11-21T08:00:00Z");
const COHORT = "pumps";
const PLAN = testPlan(smallSettings());
const WEIGHTS = PLAN.initialWeights.length;

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

async function openSite(port = 0): Promise<MqttSite> {
  const site = await MqttSite.open(port);
  cleanup.push(() => site.close());
  return site;
}

async function openCoordinator(port = 0): Promise<ScriptedCoordinator> {
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

async function openAgent({ site, coordinator, folder = temporaryFolder("agent"), lines = [] }: Where): Promise<Agent> {
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
  let closed = false;
  const close = agent.close.bind(agent);
  agent.close = async () => {
    if (!closed) await close();
    closed = true;
  };
  cleanup.push(() => agent.close());
  await eventually("the agent is online", () => (statusOf(site) === "online" ? true : undefined));
  return agent;
}

const statusOf = (site: MqttSite) => site.events("flead/v1/north/gw-1/status").at(-1)?.event.data.state;

/** A pump whose current follows its flow; a fault shifts the current. */
class Pump {
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

const updatesOf = (coordinator: ScriptedCoordinator, count: number) =>
  eventually(`${count} updates`, () => (coordinator.updates.length >= count ? coordinator.updates : undefined), 15_000);

const addedTo = (weights: Float32Array, deltas: readonly Float32Array[]) =>
  weights.map((weight, index) => deltas.reduce((sum, delta) => sum + (delta[index] ?? 0), weight));

const sessions = (coordinator: ScriptedCoordinator, count: number) =>
  eventually(`session ${count}`, () => (coordinator.hellos.length >= count ? true : undefined), 15_000);

const activated = (site: MqttSite, version: number) =>
  eventually(`version ${version} is active`, () =>
    site.events("flead/v1/north/gw-1/model/activated").some(({ event }) => event.data.global_version === version)
      ? true
      : undefined,
  );

const alerts = (site: MqttSite, count: number) =>
  eventually(`${count} alert events`, () => {
    const events = site.events("flead/v1/north/gw-1/event/pump-1/").map(({ event }) => event);
    return events.length >= count ? events : undefined;
  });

test("fifty rows after commissioning make one update of fifty samples against the champion", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  await new Pump(site).run(60);
  const [update] = await updatesOf(coordinator, 1);
  expect(coordinator.hellos[0]).toMatchObject({
    gatewayId: "gw-1",
    site: "north",
    cohorts: [{ cohort: COHORT, planId: "" }],
  });
  expect(update).toMatchObject({ cohort: COHORT, planId: PLAN.planId, baseVersion: 1n, samples: 50n, localSteps: 2n });
  expect(update?.loss).toBeGreaterThan(0);
  expect(decodeWeights(update?.delta ?? Buffer.of(), WEIGHTS).some((value) => value !== 0)).toBe(true);
  const [{ event } = { event: null }] = await eventually("trained event", () => {
    const events = site.events("flead/v1/north/gw-1/model/trained");
    return events.length > 0 ? events : undefined;
  });
  expect(event?.data.samples).toBe(50);
});

test("updates go on from the same base until a newer champion comes", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(110);
  const deltas = (await updatesOf(coordinator, 2)).map(({ delta }) => decodeWeights(delta, WEIGHTS));
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, weights: addedTo(PLAN.initialWeights, deltas) }));
  await activated(site, 2);
  await pump.run(50);
  const third = (await updatesOf(coordinator, 3))[2];
  expect(coordinator.updates.slice(0, 2)).toMatchObject([{ baseVersion: 1n }, { baseVersion: 1n }]);
  expect(third).toMatchObject({ baseVersion: 2n, samples: 50n, localSteps: 6n });
});

test("what was not answered is sent again with the same id, in order, and not after its answer", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.answerTo = () => null;
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(110);
  const first = (await updatesOf(coordinator, 2)).map(({ updateId }) => updateId);
  coordinator.answerTo = ({ updateId }) => ({
    status: updateId === first[0] ? UpdateStatus.KNOWN : UpdateStatus.ACCEPTED,
  });
  coordinator.breakSessions();
  await sessions(coordinator, 2);
  expect((await updatesOf(coordinator, 4)).slice(2).map(({ updateId }) => updateId)).toEqual(first);
  coordinator.breakSessions();
  await sessions(coordinator, 3);
  await pump.run(50);
  const third = (await updatesOf(coordinator, 5))[4];
  expect(first).not.toContain(third?.updateId);
});

test("a coordinator that dies and comes back gets what it had not answered, and only that", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const [answered] = await updatesOf(coordinator, 1);
  coordinator.close();
  await eventually("the session is lost", () => lines.find((line) => line.includes('"connected":false')));
  await pump.run(100);
  const back = await openCoordinator(coordinator.port);
  const updates = await updatesOf(back, 2);
  expect(updates.map(({ samples, localSteps }) => [samples, localSteps])).toEqual([
    [50n, 4n],
    [50n, 6n],
  ]);
  expect(updates.map(({ updateId }) => updateId)).not.toContain(answered?.updateId);
});

test("a refused update leaves the outbox, one to be retried comes again after the given time", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  let answers = 0;
  coordinator.answerTo = () =>
    answers++ === 0 ? { status: UpdateStatus.RETRY, retryAfterMs: 300 } : { status: UpdateStatus.REFUSED };
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  await new Pump(site).run(60);
  const [sent, again] = await updatesOf(coordinator, 2);
  expect(again?.updateId).toBe(sent?.updateId);
  await eventually("the refusal is logged", () => lines.find((line) => line.includes("update_refused")));
  coordinator.breakSessions();
  await sessions(coordinator, 2);
  const before = coordinator.said("report").length;
  coordinator.send({ $case: "command", value: { commandId: "c", action: { $case: "sendReport", value: {} } } });
  const report = await eventually("a report that was asked for", () => coordinator.said("report").at(before));
  expect(report.health).toMatchObject({ outboxBytes: 0n, updatesTrained: 1n, samplesTrained: 50n });
  expect(coordinator.updates).toHaveLength(2);
});

test("a trained champion takes over from the z-score, names the channel at fault, and clears", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await site.listen("insa/#");
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site, { everyMs: 10_000 });
  await pump.run(410);
  const deltas = (await updatesOf(coordinator, 8)).map(({ delta }) => decodeWeights(delta, WEIGHTS));
  const weights = addedTo(PLAN.initialWeights, deltas);
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, trained: true, weights }));
  await activated(site, 2);
  await pump.run(10, { fault: 4 });
  const [raised] = await alerts(site, 1);
  expect(raised).toMatchObject({
    type: "flead.anomaly.raised.v1",
    source: "/north/gw-1/pump-1",
    data: { state: "active", severity: "critical", model: { kind: "federated", global_version: 2 } },
  });
  expect(raised?.data.score).toBeGreaterThan(raised?.data.threshold ?? 0);
  expect(raised?.data.contributors[0]).toMatchObject({ channel: "current", unit: "A" });
  await pump.run(200);
  const events = await eventually("the end of the episode", () => {
    const said = site.events("flead/v1/north/gw-1/event/pump-1/").map(({ event }) => event);
    return said.at(-1)?.type === "flead.anomaly.cleared.v1" ? said : undefined;
  });
  expect(new Set(events.map(({ data }) => data.alert_id)).size).toBe(1);
  const times = events.slice(0, -1).map(({ time }) => Date.parse(time));
  for (const [index, time] of times.slice(1).entries())
    expect(time - (times[index] ?? 0)).toBeGreaterThanOrEqual(60_000);
  const state = await eventually("the retained state is cleared", () => {
    const states = site.events("flead/v1/north/gw-1/alert/pump-1/federated");
    return states.at(-1)?.event.data.state === "cleared" ? states : undefined;
  });
  expect(state).toHaveLength(events.length);
  expect(site.events("insa/iiot/ml/anomaly/pump-1")).toHaveLength(events.length);
  const episode = await eventually("the cleared episode is reported", () =>
    coordinator
      .said("report")
      .flatMap(({ episodes }) => episodes)
      .find(({ state }) => state === "cleared"),
  );
  expect(episode).toMatchObject({ alertId: raised?.data.alert_id, deviceId: "pump-1", modelKind: "federated" });
});

test("with no coordinator and no broker at first, a cold start alerts, and the alert waits for the broker", async () => {
  const first = await openSite();
  const agent = await openAgent({ site: first, coordinator: null });
  const pump = new Pump(first);
  await pump.run(50);
  const rows = Array.from({ length: 5 }, () => JSON.stringify(pump.next(8)));
  const { port } = first;
  await first.close();
  cleanup.splice(0, 1);
  for (const row of rows) {
    const payload = new TextEncoder().encode(row);
    agent.receive({
      broker: "b",
      topic: "insa/devices/pump-1/telemetry",
      payload,
      retained: false,
      receivedAtMs: START_MS,
    });
  }
  const second = await openSite(port);
  await second.listen("flead/v1/north/gw-1/#");
  const [raised] = await alerts(second, 1);
  expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { model: { kind: "z_score" }, count: 3 } });
  expect(raised?.data.contributors[0]?.channel).toBe("current");
  expect(JSON.stringify(raised)).not.toContain("label");
});

test("a restart takes up the active episode, the learned state and the outbox", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.answerTo = () => null;
  const folder = temporaryFolder("agent-restart");
  const agent = await openAgent({ site, coordinator, folder });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const [unanswered] = await updatesOf(coordinator, 1);
  await pump.run(5, { fault: 8 });
  const [raised] = await alerts(site, 1);
  await agent.close();
  await eventually("the agent is offline", () => (statusOf(site) === "offline" ? true : undefined));
  coordinator.answerTo = () => ({ status: UpdateStatus.ACCEPTED });
  coordinator.greeting = [];
  await openAgent({ site, coordinator, folder });
  const again = (await updatesOf(coordinator, 2))[1];
  expect(again?.updateId).toBe(unanswered?.updateId);
  expect(coordinator.hellos.at(-1)?.cohorts).toEqual([
    {
      cohort: COHORT,
      planId: PLAN.planId,
      globalVersion: 1n,
      devices: ["pump-1"],
      candidate: undefined,
      previousVersion: 0n,
    },
  ]);
  await pump.run(120);
  const events = await alerts(site, 2);
  expect(events.at(-1)).toMatchObject({ type: "flead.anomaly.cleared.v1", data: { alert_id: raised?.data.alert_id } });
  // Commissioned and trained already: the next update needs no more than fifty learnable rows.
  const next = (await updatesOf(coordinator, 3))[2];
  expect(next).toMatchObject({ samples: 50n, localSteps: 4n, baseVersion: 1n });
});

test("a plan that does not arrive whole is refused and fetched again; its model waits for it", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.truncate(PLAN.planId, true);
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  const line = await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  expect(line).toMatch(/\d+ of \d+ bytes came/);
  expect(site.events("flead/v1/north/gw-1/model/activated")).toEqual([]);
  coordinator.truncate(PLAN.planId, false);
  await activated(site, 1);
  await new Pump(site).run(60);
  expect(await updatesOf(coordinator, 1)).toHaveLength(1);
});

test("a model of the wrong length or with a non-finite weight changes nothing", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, weights: new Float32Array(WEIGHTS + 1) }));
  await eventually("the wrong length", () => lines.find((text) => text.includes("bad_model")));
  coordinator.send(globalModel(COHORT, PLAN, { version: 3, weights: new Float32Array(WEIGHTS).fill(Number.NaN) }));
  await eventually("the weight that is no number", () => lines.find((text) => text.includes("bad_message")));
  await new Pump(site).run(60);
  expect((await updatesOf(coordinator, 1))[0]?.baseVersion).toBe(1n);
});

test("another plan begins anew with its own model", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  await updatesOf(coordinator, 1);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(globalModel(COHORT, other, { version: 5 }));
  await activated(site, 5);
  await pump.run(70);
  const second = (await updatesOf(coordinator, 2))[1];
  expect(second).toMatchObject({ planId: other.planId, baseVersion: 5n, samples: 50n });
});

test("while a plan can't be fetched the one in force gets its champions and feedback, and the new one's wait", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.truncate(other.planId, true);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(globalModel(COHORT, other, { version: 2 }));
  await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  coordinator.send(globalModel(COHORT, PLAN, { version: 3 }));
  coordinator.send(feedback(COHORT, 3, 2, { planId: PLAN.planId }));
  await activated(site, 3);
  const acknowledged = await eventually("the acknowledgement", () => coordinator.said("feedbackAcknowledgement")[0]);
  expect(acknowledged).toEqual({ cohort: COHORT, globalVersion: 3n, learningRateFactor: 2 });
  coordinator.truncate(other.planId, false);
  await activated(site, 2);
  coordinator.send(globalModel(COHORT, PLAN, { version: 4 })); // said before it was heard that the gateway moved
  coordinator.send(globalModel(COHORT, other, { version: 5 }));
  await activated(site, 5);
  await new Pump(site).run(70);
  expect((await updatesOf(coordinator, 1))[0]).toMatchObject({ planId: other.planId, baseVersion: 5n });
});

test("feedback is in force once a version and always acknowledged", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const first = (await updatesOf(coordinator, 1))[0];
  for (const [version, factor] of [
    [2, 2],
    [2, 3],
    [3, 0.01],
  ] as const) {
    coordinator.send(feedback(COHORT, version, factor, { promoted: version === 2 }));
  }
  const acknowledged = await eventually("three acknowledgements", () => {
    const said = coordinator.said("feedbackAcknowledgement");
    return said.length >= 3 ? said : undefined;
  });
  expect(acknowledged.map(({ globalVersion, learningRateFactor }) => [globalVersion, learningRateFactor])).toEqual([
    [2n, 2],
    [2n, 2],
    [3n, 0.1],
  ]);
  await pump.run(50);
  const second = (await updatesOf(coordinator, 2))[1];
  const [before, after] = [first, second].map((update) => decodeWeights(update?.delta ?? Buffer.of(), WEIGHTS));
  expect(second).toMatchObject({ baseVersion: 1n, localSteps: 4n });
  expect(Math.hypot(...(after ?? []))).toBeLessThan(0.5 * Math.hypot(...(before ?? [])));
});

test("feedback that comes before its plan is in force and acknowledged once the plan is there", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const acknowledged = (count: number) =>
    eventually(`acknowledgement ${count}`, () => {
      const said = coordinator.said("feedbackAcknowledgement");
      return said.length >= count
        ? said.map(({ globalVersion, learningRateFactor }) => [globalVersion, learningRateFactor])
        : undefined;
    });
  coordinator.truncate(PLAN.planId, true);
  coordinator.greeting = [...coordinator.greeting, feedback(COHORT, 2, 3), feedback(COHORT, 3, 2)];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  expect(coordinator.said("feedbackAcknowledgement")).toEqual([]);
  coordinator.truncate(PLAN.planId, false);
  await activated(site, 1);
  coordinator.send(feedback(COHORT, 3, 3));
  expect(await acknowledged(2)).toEqual([
    [3n, 2],
    [3n, 2],
  ]);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(feedback(COHORT, 4, 0.5));
  coordinator.send(globalModel(COHORT, other, { version: 4, factor: 1.5 }));
  await activated(site, 4);
  coordinator.send(feedback(COHORT, 5, Number.NaN));
  expect((await acknowledged(4)).slice(2)).toEqual([
    [4n, 0.5],
    [5n, 0.5],
  ]);
});

test("an alert that could not be kept is raised once it can be, and the agent lives on", async () => {
  const site = await openSite();
  const folder = temporaryFolder("agent-full-disk");
  const lines: string[] = [];
  const agent = await openAgent({ site, coordinator: null, folder, lines });
  const pump = new Pump(site);
  await pump.run(50);
  const other = new Database(join(folder, "agent.sqlite"));
  other.exec("CREATE TRIGGER full BEFORE INSERT ON episodes BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  await pump.run(5, { fault: 8 });
  await eventually("the failure is logged", () => lines.find((line) => line.includes("store_failed")));
  other.exec("DROP TRIGGER full");
  await pump.run(1, { fault: 8 });
  const [raised] = await alerts(site, 1);
  expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { severity: "critical" } });
  other.exec("ALTER TABLE outbox RENAME TO gone");
  site.drop("flead-north-gw-1");
  await eventually("the will", () => (statusOf(site) === "offline" ? true : undefined));
  await eventually("the agent is back", () => (site.has("flead-north-gw-1") ? true : undefined));
  await agent.close();
  other.close();
});

test("each connection has a last will of its own, which says when the connection began", async () => {
  const site = await openSite();
  await openAgent({ site, coordinator: null });
  const wills = () => site.events("flead/v1/north/gw-1/status").filter(({ event }) => event.data.state === "offline");
  for (const losses of [1, 2]) {
    await eventually("the agent is online", () => (statusOf(site) === "online" ? true : undefined));
    site.drop("flead-north-gw-1");
    await eventually(`will ${losses}`, () => (wills().length === losses ? true : undefined));
  }
  const [first, second] = wills().map(({ event }) => event);
  expect(second?.id).not.toBe(first?.id);
  expect(Date.parse(second?.time ?? "")).toBeGreaterThan(Date.parse(first?.time ?? ""));
  for (const will of [first, second]) expect(will?.data.connected_at).toBe(will?.time);
});

test("bad input is counted by kind, logged once, and changes nothing", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  const stale = new Pump(site);
  await stale.say(stale.next(), true);
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(59);
  const bad: unknown[] = [
    "{",
    '{"flow": NaN, "current": 1}',
    { flow: 1 },
    { flow: 1, current: "1" },
    '{"flow": 1e999, "current": 1}',
    { timestamp: new Date(START_MS).toISOString(), flow: 1, current: 1 },
    { timestamp: new Date(START_MS + 58_000).toISOString(), flow: 1, current: 1 },
    [],
    `{"flow": "${"x".repeat(70_000)}"}`,
  ];
  for (const body of bad) await pump.say(body);
  await new Pump(site, { id: "pump 1" }).run(1);
  await new Pump(site, { id: "valve-1" }).run(1);
  await pump.run(1);
  const [update] = await updatesOf(coordinator, 1);
  expect(update?.samples).toBe(50n);
  coordinator.send({ $case: "command", value: { commandId: "c", action: { $case: "sendReport", value: {} } } });
  const refused = BigInt(bad.length + 3);
  const { health } = await eventually("a report", () =>
    coordinator.said("report").find((report) => report.health?.rowsRefused === refused),
  );
  expect(health?.rows).toBe(60n);
  const kinds = lines
    .map((line) => JSON.parse(line).kind)
    .filter((kind) => kind !== undefined && kind !== "extra_channel");
  expect(kinds.sort()).toEqual([
    "bad_value",
    "duplicate_timestamp",
    "invalid_device_id",
    "malformed_json",
    "missing_channel",
    "no_cohort",
    "out_of_order",
    "retained",
    "too_large",
    "wrong_shape",
  ]);
});

test("asked to drain, the agent goes and comes back after the given time", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const before = performance.now();
  const drain = { $case: "drain", value: { reconnectAfterMs: 400 } } as const;
  coordinator.send({ $case: "command", value: { commandId: "c", action: drain } });
  await sessions(coordinator, 2);
  expect(performance.now() - before).toBeGreaterThan(400);
});

test("closing says offline and takes less than five seconds, also when nobody is there", async () => {
  const site = await openSite();
  const agent = await openAgent({ site, coordinator: null });
  const before = performance.now();
  await agent.close();
  expect(performance.now() - before).toBeLessThan(5000);
  await eventually("the agent is offline", () => (statusOf(site) === "offline" ? true : undefined));
});
