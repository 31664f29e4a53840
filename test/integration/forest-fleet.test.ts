// A cohort that learns a forest: two real agents, a real coordinator with its PostgreSQL, a real broker.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { type PlanSettings, weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { eventually } from "../support/eventually.ts";
import { aForest, shapeOf } from "../support/forests.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const small = smallSettings();
const plan: PlanSettings = {
  ...small,
  model: { kind: "isolation_forest", trees: 40, subsampleRows: 64 },
  training: { ...small.training, learnFrom: "recent_rows", triggerRows: 40 },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 80 },
};
const bundle = testPlan(plan);
const parameters = weightCount(decodeBundle(bundle.bytes, bundle.planId).manifest.weights);
const folder = temporaryFolder("forest-fleet");
const GATEWAYS = { "gw-1": ["pump-1", "pump-2"], "gw-2": ["pump-3"] } as const;
type Gateway = keyof typeof GATEWAYS;
const log = pino({ level: "silent" });

let site: MqttSite;
let coordinator: Coordinator | null = null;
const agents = new Map<Gateway, Agent>();

beforeAll(async () => {
  site = await MqttSite.open(0);
  const file = join(folder, "pumps.yaml");
  const round = { intervalMs: 0, updates: 4, deadlineMs: 3_600_000 };
  writeFileSync(file, JSON.stringify({ cohort: "pumps", plan, federation: { round } })); // JSON is YAML
  const config = readCoordinatorConfig({
    FLEAD_PLANS: file,
    FLEAD_DATA_DIR: join(folder, "coordinator"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, log);
  await site.listen("flead/v1/#");
});
afterAll(async () => {
  for (const agent of agents.values()) await agent.close();
  await coordinator?.close();
  await site?.close();
});

async function start(gateway: Gateway, grpcPort: number): Promise<void> {
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: gateway,
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: gateway,
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${grpcPort}`,
    FLEAD_DATA_DIR: join(folder, gateway),
    FLEAD_COHORTS: "pumps=pump-*",
  });
  const statuses = () => site.events(`flead/v1/${gateway}/${gateway}/status`).length;
  const before = statuses();
  agents.set(gateway, await startAgent(config, log));
  await eventually(`${gateway} listens`, () => (statuses() > before ? true : undefined));
}

const clocks = new Map<string, number>();
const random = seededRandom(1);

/** Rows of one device, a second apart: healthy ones, or with both channels far from where they ever were. */
async function say(gateway: Gateway, device: string, rows: number, state: "healthy" | "faulty"): Promise<void> {
  for (let row = 0; row < rows; row++) {
    const atMs = (clocks.get(device) ?? 1_700_000_000_000) + 1000;
    clocks.set(device, atMs);
    const flow = 30 + 2 * random.normal() + (state === "faulty" ? 60 : 0);
    const current = flow / 10 + 0.05 * random.normal() - (state === "faulty" ? 30 : 0);
    const body = { timestamp: new Date(atMs).toISOString(), flow, current };
    await site.say(`flead/v1/${gateway}/${device}/telemetry`, body);
  }
}

const heldBy = (gateway: Gateway) =>
  site.events(`flead/v1/${gateway}/${gateway}/model/activated`).map(({ event }) => event.data.global_version);

/** The first alert that the cohort's model raised about a device. */
const raised = (gateway: Gateway, device: string) =>
  eventually(`an alert about ${device}`, () =>
    site
      .events(`flead/v1/${gateway}/${gateway}/event/${device}/federated`)
      .map(({ event }) => event)
      .find(({ type }) => type === "flead.anomaly.raised.v1"),
  );

interface Round {
  readonly rule: string;
  readonly gateways: number;
  readonly verdict: string;
  readonly learningRateFactor: number;
}

async function rounds(): Promise<readonly Round[]> {
  const answer = await fetch(new URL("/api/v1/rounds?cohort=pumps", coordinator?.url));
  return ((await answer.json()) as { items: Round[] }).items;
}

test("agents grow forests, a round pools them, and the pool raises an alert", async () => {
  const port = Number(coordinator?.grpcAddress.port);
  for (const gateway of ["gw-1", "gw-2"] as const) {
    await start(gateway, port);
    await eventually(`${gateway} has the plan`, () => (heldBy(gateway).includes(1) ? true : undefined));
  }
  const everyDevice = async (rows: number, state: "healthy" | "faulty") => {
    for (const [gateway, devices] of Object.entries(GATEWAYS))
      for (const device of devices) await say(gateway as Gateway, device, rows, state);
  };
  await everyDevice(100, "healthy");
  await eventually("both gateways' trees are pooled", async () => {
    await everyDevice(10, "healthy");
    return (await rounds()).some(({ gateways }) => gateways === 2) ? true : undefined;
  });
  for (const gateway of ["gw-1", "gw-2"] as const)
    await eventually(`${gateway} has the pool`, () => (heldBy(gateway).some((held) => held > 1) ? true : undefined));
  for (const round of await rounds())
    expect(round).toMatchObject({ rule: "pool_trees", verdict: "promoted", gateways: 2, learningRateFactor: 1 });

  await say("gw-1", "pump-1", 5, "healthy"); // the champion serves from the next row on
  await say("gw-1", "pump-1", 10, "faulty");
  const { data } = await raised("gw-1", "pump-1");
  expect(data.model.kind).toBe("federated");
  expect(data.model.global_version).toBeGreaterThan(1);
  expect(data.score).toBeGreaterThan(data.threshold);
  expect(data.score).toBeLessThan(1);
  expect(data.contributors.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
});

test("trees that nobody can have grown are refused by name, and no round counts them", async () => {
  const gateway = new GatewayClient(`localhost:${coordinator?.grpcAddress.port}`, "liar");
  await gateway.hello("pumps", bundle.planId, 1);
  const before = (await rounds()).length;
  const wrong = [
    [aForest(shapeOf(plan), 1).with(0, 99), /^invalid_trees: tree 0 splits feature 99; there are 6/],
    [new Float32Array(parameters).fill(0.001), /^invalid_trees: tree 0 splits feature 0\.001/],
  ] as const;
  for (const [weights, reason] of wrong) {
    const delta = Buffer.from(weights.buffer);
    const result = await gateway.push(anUpdate("pumps", bundle.planId, parameters, { delta }));
    expect(result.reason).toMatch(reason);
  }
  gateway.close();
  expect((await rounds()).length).toBe(before);
});

test("with no coordinator a restarted agent raises an alert by the forest that it kept", async () => {
  const port = Number(coordinator?.grpcAddress.port);
  await coordinator?.close();
  coordinator = null;
  await agents.get("gw-1")?.close();
  await start("gw-1", port);
  const version = heldBy("gw-1").at(-1);
  await say("gw-1", "pump-2", 5, "healthy");
  await say("gw-1", "pump-2", 10, "faulty");
  const { data } = await raised("gw-1", "pump-2");
  expect(data.model).toMatchObject({ kind: "federated", global_version: version });
});
