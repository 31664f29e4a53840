import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeWeights } from "../../proto/weights.ts";
import { eventually } from "../support/eventually.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const GATEWAY = "flead/v1/north/gw-1";
const PLAN = testPlan(smallSettings());

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

async function openGateway() {
  const site = await MqttSite.open();
  cleanup.push(() => site.close());
  const coordinator = await ScriptedCoordinator.start();
  cleanup.push(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged(COHORT, PLAN), globalModel(COHORT, PLAN)];
  await site.listen(`${GATEWAY}/#`);
  const lines: string[] = [];
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
    FLEAD_DATA_DIR: temporaryFolder("agent-model-commands"),
    FLEAD_COHORTS: `${COHORT}=pump-*`,
  });
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  cleanup.push(() => agent.close());
  const random = seededRandom(3);
  let rows = 0;
  const run = async (count: number, fault = 0) => {
    for (let row = 0; row < count; row++) {
      const flow = 30 + 2 * random.normal();
      const current = flow / 10 + 0.05 * random.normal() + fault;
      const timestamp = new Date(Date.UTC(2026, 10, 21) + 10_000 * rows++).toISOString();
      await site.say("flead/v1/north/pump-1/telemetry", { timestamp, flow, current });
    }
  };
  const versions = (what: "activated" | "candidate") =>
    site.events(`${GATEWAY}/model/${what}`).map(({ event }) => event.data.global_version);
  const told = (what: "activated" | "candidate", expected: readonly number[]) =>
    eventually(`models ${expected} are told as ${what}`, () =>
      versions(what).join() === expected.join() ? true : undefined,
    );
  /** The models of the next report. */
  const reported = async () => {
    const before = coordinator.said("report").length;
    coordinator.send({ $case: "command", value: { commandId: "r", action: { $case: "sendReport", value: {} } } });
    return eventually("another report", () => coordinator.said("report")[before]?.cohorts[0]);
  };
  const logged = (kind: string) =>
    eventually(`a line ${kind}`, () => lines.map((line) => JSON.parse(line)).find((line) => line.kind === kind));
  return { site, coordinator, run, told, reported, logged };
}

test("a wrecked champion waits, is told of and reported, while faults are still found; an operator has it or goes back", async () => {
  const { site, coordinator, run, told, reported, logged } = await openGateway();
  await told("activated", [1]);
  await run(410);
  const updates = await eventually("8 updates", () =>
    coordinator.updates.length >= 8 ? coordinator.updates : undefined,
  );
  const deltas = updates.map(({ delta }) => decodeWeights(delta, PLAN.initialWeights.length));
  const weights = PLAN.initialWeights.map((weight, index) =>
    deltas.reduce((sum, delta) => sum + Number(delta[index]), weight),
  );
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, trained: true, weights }));
  await told("activated", [1, 2]);
  const wrecked = weights.map((weight, index) => (index % 2 === 0 ? 30 : -30) - weight);
  coordinator.send(globalModel(COHORT, PLAN, { version: 3, trained: true, weights: wrecked }));
  await told("candidate", [3]);
  expect((await logged("model_held")).msg).toMatch(/version 3 beside the active 2: its scores of 200 normal rows/);
  const held = await reported();
  expect(held).toMatchObject({ globalVersion: 2n, previousVersion: 1n, candidate: { globalVersion: 3n } });
  expect(held.candidate?.trial).toMatchObject({ rows: 200, change: { $case: "ratio" }, labelledRows: 0 });

  await run(10, 4);
  const raised = await eventually("an alert", () => site.events(`${GATEWAY}/event/pump-1/federated`)[0]?.event);
  expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { model: { global_version: 2 } } });

  const rollBack = { $case: "rollBackModel", value: { cohort: COHORT } } as const;
  const activate = (version: bigint) =>
    ({ $case: "activateModel", value: { cohort: COHORT, globalVersion: version } }) as const;
  const command = (action: typeof rollBack | ReturnType<typeof activate>) =>
    coordinator.send({ $case: "command", value: { commandId: "c", action } });
  command(activate(9n));
  expect((await logged("command_refused")).msg).toBe("version 9 is no candidate; the candidate is 3");
  command(activate(3n));
  await told("activated", [1, 2, 3]);
  expect(await reported()).toMatchObject({ globalVersion: 3n, candidate: undefined, previousVersion: 2n });
  command(rollBack);
  await told("activated", [1, 2, 3, 2]);
  expect(await reported()).toMatchObject({
    globalVersion: 2n,
    candidate: { globalVersion: 3n, trial: undefined },
    previousVersion: 0n,
  });
});
