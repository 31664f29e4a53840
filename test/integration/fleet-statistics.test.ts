import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { poolDevices, poolGateways } from "../../learning/fleet.ts";
import { weightCount } from "../../learning/plan.ts";
import type { CohortStatistics } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { fleetDevice, fleetPlan } from "../support/fleet-plan.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const folder = temporaryFolder("fleet-statistics");
const compiled = compilePlan(fleetPlan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);

let coordinator: Coordinator;
let address: string;
const lines: string[] = [];
const clients: GatewayClient[] = [];

async function start(): Promise<void> {
  const file = join(folder, "pumps.yaml");
  writeFileSync(file, JSON.stringify({ cohort: COHORT, plan: fleetPlan, federation: { round: { updates: 2 } } }));
  const config = readCoordinatorConfig({
    FLEAD_PLANS: file,
    FLEAD_HELD_OUT: join(folder, "held-out"),
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    FLEAD_LOG_LEVEL: "silent",
  });
  coordinator = await openCoordinator(config, pino({ level: "warn" }, { write: (line) => lines.push(line) }));
  address = `localhost:${coordinator.grpcAddress.port}`;
}

beforeAll(async () => {
  for (const pump of [0, 1]) writeCsv(join(folder, "held-out", COHORT), plantStream(pump, 600, 320));
  await start();
});
afterAll(async () => {
  for (const client of clients) client.close();
  await coordinator?.close();
});

async function connect(gatewayId: string): Promise<GatewayClient> {
  const client = new GatewayClient(address, gatewayId);
  clients.push(client);
  await client.hello(COHORT, planId, 1);
  return client;
}

/** What a gateway of three devices tells. */
const told = (number: number) => {
  const devices = [0, 1, 2].map((device) => fleetDevice(10 * number + device));
  const statistics = poolDevices(fleetPlan, devices, number);
  if (statistics === null) throw new Error("there is nothing to tell");
  return statistics;
};

function statisticsOf(number: number, change: Partial<CohortStatistics> = {}): CohortStatistics {
  const { devices, scales, ratios } = told(number);
  return {
    cohort: COHORT,
    planId,
    globalVersion: 1n,
    devices,
    scales: [...(scales ?? [])],
    ratios: Buffer.from(ratios?.serialise() ?? []),
    ...change,
  };
}

let reports = 0;
async function report(gateway: GatewayClient, ...statistics: CohortStatistics[]): Promise<void> {
  const reportId = `r${++reports}`;
  const value = { reportId, clock: "synced", episodes: [], health: undefined, cohorts: [], statistics, summaries: [] };
  gateway.say({ $case: "report", value });
  await gateway.hears("reportResult", (result) => result.reportId === reportId);
}

const update = (gateway: GatewayClient) => gateway.push(anUpdate(COHORT, planId, parameters));

async function itemsOf(path: string): Promise<readonly unknown[]> {
  const body = (await (await fetch(new URL(path, coordinator.url))).json()) as { items: unknown[] };
  return body.items;
}

const POOLED = poolGateways(fleetPlan, [told(1), told(2)]);

test("what two gateways told comes back to both with the next champion, and people can read it", async () => {
  const [a, b] = [await connect("gw-1"), await connect("gw-2")];
  const initial = await a.hears("globalModel");
  expect([initial.scales, initial.thresholdFactor]).toEqual([[], undefined]);
  await report(a, statisticsOf(1));
  await report(b, statisticsOf(2));
  await update(a);
  await update(b);
  for (const gateway of [a, b]) {
    const champion = await gateway.hears("globalModel", ({ globalVersion }) => globalVersion === 2n);
    expect(champion.scales).toEqual([...(POOLED.scales ?? [])]);
    expect(champion.thresholdFactor).toBe(POOLED.thresholdFactor);
  }
  const fleet = { scales: [...(POOLED.scales ?? [])], thresholdFactor: POOLED.thresholdFactor };
  const [round] = await itemsOf("/api/v1/rounds");
  expect(round).toMatchObject({ globalVersion: 2, verdict: "promoted", fleet, heldOut: { n: expect.any(Number) } });
  const models = await itemsOf("/api/v1/models");
  expect(models).toMatchObject([
    { globalVersion: 2, fleet },
    { globalVersion: 1, fleet: { scales: null, thresholdFactor: null } },
  ]);
});

test("a coordinator that starts again tells the champion with what the fleet knew, and pools what it was told", async () => {
  for (const client of clients.splice(0)) client.close();
  await coordinator.close();
  await start();
  const [a, b] = [await connect("gw-1"), await connect("gw-2")];
  const champion = await a.hears("globalModel");
  expect(champion).toMatchObject({ globalVersion: 2n, thresholdFactor: POOLED.thresholdFactor });
  expect(champion.scales).toEqual([...(POOLED.scales ?? [])]);
  await update(a);
  await update(b);
  const next = await b.hears("globalModel", ({ globalVersion }) => globalVersion === 3n);
  expect(next.thresholdFactor).toBe(POOLED.thresholdFactor);
});

const noise = Buffer.from("no sketch at all, and yet it has a length");
test.each<[string, Partial<CohortStatistics>]>([
  ["for a cohort that is not there", { cohort: "nobody" }],
  ["of another plan", { planId: "f".repeat(64) }],
  ["with too few scales", { scales: [1] }],
  ["with a scale that is no number", { scales: fleetPlan.channels.map(() => Number.NaN) }],
  ["with noise for a sketch", { ratios: noise }],
  ["of any size", { ratios: Buffer.alloc(1_000_000) }],
])("statistics %s are refused, and what was told before stands", async (_, change) => {
  const [a, b] = [await connect("gw-1"), await connect("gw-2")];
  const version = (await a.hears("globalModel")).globalVersion;
  await report(a, statisticsOf(5, change));
  await update(a);
  await update(b);
  const champion = await a.hears("globalModel", ({ globalVersion }) => globalVersion > version);
  expect(champion.thresholdFactor).toBe(POOLED.thresholdFactor);
  expect(lines.some((line) => line.includes('"kind":"statistics_refused"'))).toBe(true);
});

test("a gateway's newer word takes the place of its older one", async () => {
  const [a, b] = [await connect("gw-1"), await connect("gw-2")];
  const { globalVersion: version } = await a.hears("globalModel");
  await report(a, statisticsOf(5), statisticsOf(3, { globalVersion: version }));
  await update(a);
  await update(b);
  const champion = await a.hears("globalModel", ({ globalVersion }) => globalVersion > version);
  expect(champion.thresholdFactor).toBe(poolGateways(fleetPlan, [told(3), told(2)]).thresholdFactor);
});
