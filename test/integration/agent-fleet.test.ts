import { join } from "node:path";
import { pino } from "pino";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import type { Agent } from "../../agent/agent.ts";
import { Cohort } from "../../agent/cohort.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { Lane } from "../../agent/lane.ts";
import { Learner } from "../../agent/learner.ts";
import { startAgent } from "../../agent/main.ts";
import type { GlobalModel } from "../../agent/ports/coordinator-link.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId, deviceId, updateId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { QuantileSketch } from "../../learning/sketch.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { eventually } from "../support/eventually.ts";
import { fleetPlan } from "../support/fleet-plan.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const PUMPS = cohortId("pumps");
const small = smallSettings();
const settings: PlanSettings = {
  ...small,
  commissioningRows: 60,
  features: { ...small.features, reference: fleetPlan.features.reference },
  threshold: { ...fleetPlan.threshold, rows: 40 },
};
const bundle = testPlan(settings);
const PLAN = { bytes: bundle.bytes, ...decodeBundle(bundle.bytes, bundle.planId) };
const ROWS = 160;

/** Flow and current of a pump, one row a second. */
function pumpRows(rows: number, seed: number): { flow: number; current: number; atMs: number }[] {
  const random = seededRandom(seed);
  return Array.from({ length: rows }, (_, row) => {
    const flow = 30 + 2 * random.normal();
    return { flow, current: flow / 10 + 0.05 * random.normal(), atMs: 1_700_000_000_000 + 1000 * row };
  });
}

const readingsOf = (id: string, seed: number): Reading[] =>
  pumpRows(ROWS, seed).map(({ flow, current, atMs }) => ({
    deviceId: deviceId(id),
    atMs,
    receivedAtMs: atMs + 1,
    label: null,
    values: new Map([
      ["flow", flow],
      ["current", current],
    ]),
    units: new Map(),
  }));

const FLEET = { scales: Float64Array.of(50, 50), thresholdFactor: 3 };

const champion = (change: Partial<GlobalModel> = {}): GlobalModel => ({
  kind: "globalModel",
  cohort: PUMPS,
  planId: PLAN.planId,
  globalVersion: 2,
  weights: PLAN.initialWeights,
  trained: true,
  learningRateFactor: null,
  trainWhenInvited: false,
  fleet: noFleet,
  ...change,
});

/** A cohort of two pumps that have run for a while, over a real file and the plan's real graphs. */
async function openCohort() {
  const store = new SqliteStore(join(temporaryFolder("agent-fleet"), "agent.sqlite"), { nowMs: 0 });
  store.learning.startPlan(PUMPS, PLAN);
  const cohort = new Cohort(PUMPS, 0, () => true);
  const deps = {
    cohort: PUMPS,
    store,
    lane: new Lane(),
    nowMs: () => 0,
    newUpdateId: () => updateId("0".repeat(26)),
    devices: () => cohort.devices.values(),
    seed: 5,
    dueRecords: () => [],
    onTrained: () => undefined,
    onProblem: () => undefined,
  };
  const learners: Learner[] = [];
  const openLearner = async () => {
    const record = store.learning.cohort(PUMPS);
    if (record === null) throw new Error("the file holds no plan");
    const learner = new Learner(deps, await PlanModel.load(PLAN), record);
    learners.push(learner);
    return learner;
  };
  onTestFinished(async () => {
    for (const learner of learners) await learner.close();
    store.close();
  });
  const learner = await openLearner();
  cohort.learnBy(learner);
  const run = (id: string, seed: number) => {
    for (const reading of readingsOf(id, seed)) {
      const device = cohort.deviceOf(reading);
      if (isRefusal(device)) throw new Error(device.detail);
      const entered = device.enter(reading);
      if (isRefusal(entered)) throw new Error(entered.detail);
      device.judgeByOwnRows(entered);
      cohort.keep(device);
    }
  };
  run("pump-1", 1);
  run("pump-2", 2);
  const thresholds = () => Array.from(cohort.devices.values(), (device) => device.monitor?.threshold);
  return { cohort, learner, store, openLearner, thresholds, run };
}

test("nothing is told before a champion has calibrated the devices, and then of all of them together", async () => {
  const { cohort, learner } = await openCohort();
  expect(cohort.statistics()).toBeNull();
  await learner.activate(champion({ trained: false, globalVersion: 1 }));
  expect(cohort.statistics()).toBeNull();
  await learner.activate(champion());
  const told = cohort.statistics();
  expect(told).toMatchObject({ cohort: PUMPS, planId: PLAN.planId, globalVersion: 2, devices: 2 });
  expect(told?.ratios?.count).toBe(80);
  expect(told?.scales).toHaveLength(2);
  expect(cohort.statistics()).toBe(told);
  await learner.recalibrate();
  expect(cohort.statistics()).not.toBe(told);
  expect(cohort.statistics()).toEqual(told);
});

test("what the fleet knows is in force on every device, new ones too, and is kept", async () => {
  const { cohort, learner, store, openLearner, thresholds, run } = await openCohort();
  await learner.activate(champion());
  const own = thresholds();
  const scale = cohort.statistics()?.scales;
  expect(await learner.activate(champion({ globalVersion: 3, fleet: { ...FLEET, scales: null } }))).toBe("activated");
  const factored = thresholds();
  expect(factored).not.toEqual(own);
  // Larger scales make smaller features, and other scores.
  expect(await learner.activate(champion({ globalVersion: 3, fleet: FLEET }))).toBe("unchanged");
  expect(thresholds()).not.toEqual(factored);
  expect(learner.fleet).toEqual(FLEET);
  expect(store.learning.cohort(PUMPS)?.slot?.fleet).toEqual(FLEET);
  expect(cohort.statistics()?.scales).toEqual(scale); // its own, not what the fleet raised them to
  run("pump-3", 1);
  await learner.recalibrate();
  expect(thresholds()[2]).toBe(thresholds()[0]);

  const restored = new Cohort(PUMPS, 0, () => true);
  const next = await openLearner();
  restored.restore(next, cohort.records(), () => expect.unreachable());
  const back = Array.from(restored.devices.values(), (device) => device.monitor?.threshold);
  expect(back).toEqual(thresholds());
});

test("fleet statistics that don't fit the plan, or a model that can't be kept, change nothing", async () => {
  const { learner, store, thresholds } = await openCohort();
  await learner.activate(champion({ fleet: FLEET }));
  const before = thresholds();
  const broken = [Float64Array.of(1), Float64Array.of(1, 0), Float64Array.of(1, Number.NaN)];
  for (const scales of broken) {
    const bad = champion({ globalVersion: 9, fleet: { ...FLEET, scales } });
    await expect(learner.activate(bad)).rejects.toThrow(/fleet statistics/);
  }
  const endless = PLAN.initialWeights.map(() => Number.POSITIVE_INFINITY);
  const unusable = champion({ globalVersion: 9, weights: endless, fleet: noFleet });
  await expect(learner.activate(unusable)).rejects.toThrow(/finite/);
  expect(learner.slot).toMatchObject({ globalVersion: 2, fleet: FLEET });
  expect(store.learning.cohort(PUMPS)?.slot).toMatchObject({ globalVersion: 2, fleet: FLEET });
  expect(thresholds()).toEqual(before);
  await learner.recalibrate();
  expect(thresholds()).toEqual(before);
});

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

test("an agent tells its statistics within seconds of a champion, again when it connects, and not in between", async () => {
  const site = await MqttSite.open(0);
  cleanup.push(() => site.close());
  const coordinator = await ScriptedCoordinator.start();
  cleanup.push(() => coordinator.close());
  coordinator.hold(bundle);
  coordinator.greeting = [planChanged(PUMPS, bundle), globalModel(PUMPS, bundle)];
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
    FLEAD_DATA_DIR: temporaryFolder("agent-fleet-loop"),
    FLEAD_COHORTS: "pumps=pump-*",
  });
  const agent: Agent = await startAgent(config, pino({ level: "silent" }));
  cleanup.push(() => agent.close());
  await site.listen("flead/v1/north/gw-1/#");
  const online = () => (site.events("flead/v1/north/gw-1/status").length > 0 ? true : undefined);
  await eventually("the agent listens", online);
  const holds = (version: number) => () =>
    site.events("flead/v1/north/gw-1/model/activated").some(({ event }) => event.data.global_version === version)
      ? true
      : undefined;
  await eventually("the plan is there", holds(1));
  for (const { flow, current, atMs } of pumpRows(ROWS, 1)) {
    await site.say("flead/v1/north/pump-1/telemetry", { timestamp: new Date(atMs).toISOString(), flow, current });
  }
  await eventually("two trainings", () => (coordinator.updates.length >= 2 ? true : undefined), 15_000);
  const told = () => coordinator.said("report").flatMap(({ statistics }) => statistics);
  expect(told()).toEqual([]);

  coordinator.send(globalModel(PUMPS, bundle, { version: 2, trained: true, scales: [50, 50], thresholdFactor: 3 }));
  const [first] = await eventually("statistics", () => (told().length > 0 ? told() : undefined), 5_000);
  expect(first).toMatchObject({ cohort: PUMPS, planId: bundle.planId, globalVersion: 2n, devices: 1 });
  expect(first?.scales).toHaveLength(2);
  expect(QuantileSketch.deserialise(first?.ratios ?? Buffer.of()).count).toBe(40);
  const sendReport = { commandId: "c", action: { $case: "sendReport" as const, value: {} } };
  coordinator.send({ $case: "command", value: sendReport });
  await eventually("statistics that were asked for", () => (told().length === 2 ? true : undefined));
  coordinator.breakSessions();
  await eventually("statistics of a new session", () => (told().length === 3 ? true : undefined));
  expect(told().map(({ ratios }) => ratios)).toEqual([first?.ratios, first?.ratios, first?.ratios]);
});
