import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { ulid } from "ulid";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import type { WindowItem } from "../../coordinator/ports/analytics-queries.ts";
import { seededRandom } from "../../learning/random.ts";
import type { WindowSummaries, WindowSummary } from "../../proto/gen/flead/v1/federation.ts";
import { meanOf, spreadOf } from "../support/analytics.ts";
import { eventually } from "../support/eventually.ts";
import { GatewayClient } from "../support/gateway-client.ts";
import { freePort } from "../support/mosquitto.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const folder = temporaryFolder("analytics");
const plan = smallSettings();
const { planId } = testPlan(plan);
/** Ten minutes ago, at the beginning of a window. */
const START_MS = Math.floor(Date.now() / 300_000 - 2) * 300_000;

let grpcPort: number;
let coordinator: Coordinator;
let site: MqttSite;
const lines: string[] = [];
const agentLines: string[] = [];

async function startCoordinator(): Promise<void> {
  const file = join(folder, "pumps.yaml");
  writeFileSync(file, JSON.stringify({ cohort: COHORT, plan }));
  const config = readCoordinatorConfig({
    FLEAD_PLANS: file,
    FLEAD_DATA_DIR: join(folder, "coordinator"),
    FLEAD_GRPC_ADDRESS: `127.0.0.1:${grpcPort}`,
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, pino({ level: "warn" }, { write: (line) => lines.push(line) }));
}

beforeAll(async () => {
  grpcPort = await freePort();
  site = await MqttSite.open();
  await startCoordinator();
});
afterAll(async () => {
  await coordinator?.close();
  await site?.close();
});
beforeEach(() => {
  lines.length = 0;
  agentLines.length = 0;
});

async function openAgent(gateway: string, change: Record<string, string> = {}): Promise<Agent> {
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: gateway,
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${grpcPort}`,
    FLEAD_DATA_DIR: join(folder, gateway),
    FLEAD_COHORTS: `${COHORT}=*`,
    ...change,
  });
  await site.listen(`flead/v1/north/${gateway}/status`);
  const agent = await startAgent(config, pino({ level: "warn" }, { write: (line) => agentLines.push(line) }));
  await eventually("the agent is online", () =>
    site.events(`flead/v1/north/${gateway}/status`).at(-1)?.event.data.state === "online" ? true : undefined,
  );
  return agent;
}

interface Row {
  readonly atMs: number;
  readonly flow: number;
  readonly current: number;
}

/** A row every three seconds; neighbours come in the wrong order now and then. */
function rowsFrom(startMs: number, minutes: number, seed: number): { inTime: Row[]; asSent: Row[] } {
  const random = seededRandom(seed);
  const inTime = Array.from({ length: minutes * 20 }, (_, row) => {
    const flow = 30 + 2 * random.normal();
    return { atMs: startMs + row * 3_000, flow, current: flow / 10 };
  });
  const asSent = [...inTime];
  for (let at = 5; at < asSent.length; at += 9) asSent.splice(at - 1, 2, asSent[at] as Row, asSent[at - 1] as Row);
  return { inTime, asSent };
}

async function publish(device: string, rows: readonly Row[]): Promise<void> {
  for (const { atMs, flow, current } of rows) {
    await site.say(`flead/v1/north/${device}/telemetry`, { timestamp: atMs, flow, current });
  }
}

/** A word on an alert is heard after the rows that came before it; there is no such alert, and the agent says so. */
async function allJudged(gateway: string): Promise<void> {
  await site.say(`flead/v1/north/${gateway}/alert/pump-1/z_score/ack`, { action: "confirm", alert_id: ulid() });
  await eventually("the agent has judged its rows", () => agentLines.find((line) => line.includes("unknown_alert")));
}

async function get<Body>(path: string): Promise<Body> {
  const response = await fetch(new URL(path, coordinator.url));
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Body;
}

const windowsOf = async (device: string, metric: string) => {
  const path = `/api/v1/analytics/windows?device_id=${device}&metric_name=${metric}&limit=200`;
  return (await get<{ items: WindowItem[] }>(path)).items.reverse();
};

const wholeWindows = (device: string, rows: readonly Row[]) =>
  eventually(
    `the windows of ${device}`,
    async () => {
      const windows = await windowsOf(device, "flow");
      const samples = windows.reduce((sum, { sampleCount }) => sum + sampleCount, 0);
      return samples >= rows.length ? windows : undefined;
    },
    90_000,
  );

function expectRight(windows: readonly WindowItem[], rows: readonly Row[]): void {
  for (const window of windows) {
    const endMs = Date.parse(window.windowEnd);
    const since = (ms: number) => rows.filter(({ atMs }) => atMs >= endMs - ms && atMs < endMs).map(({ flow }) => flow);
    const values = since(30_000);
    expect(window).toMatchObject({
      cohort: COHORT,
      movingAvg30s: expect.closeTo(meanOf(values), 9),
      movingAvg5m: expect.closeTo(meanOf(since(300_000)), 9),
      stddev: expect.closeTo(spreadOf(values), 5),
      min: Math.min(...values),
      max: Math.max(...values),
      rawValue: values.at(-1),
      sampleCount: values.length,
      lateCount: 0,
    });
  }
}

test("what the database says of a device's windows is what a direct computation over its rows gives", async () => {
  const agent = await openAgent("gw-1");
  const { inTime, asSent } = rowsFrom(START_MS, 7, 1);
  const end = { atMs: START_MS + 9 * 60_000, flow: 30, current: 3 }; // closes all windows before it
  await publish("pump-1", [...asSent, end]);
  const windows = await wholeWindows("pump-1", inTime);
  expect(windows).toHaveLength(14);
  expectRight(windows, inTime);
  expect(windows.at(-1)?.zScore).toEqual(expect.any(Number));
  expect((await windowsOf("pump-1", "current")).map(({ sampleCount }) => sampleCount)).toEqual(
    windows.map(({ sampleCount }) => sampleCount),
  );
  await agent.close();
});

test("windows outlive the coordinator's absence and a restart of the agent, each told once", async () => {
  await coordinator.close();
  const { inTime, asSent } = rowsFrom(START_MS, 6, 2);
  const half = asSent.findIndex(({ atMs }) => atMs >= START_MS + 165_000); // in the middle of a window
  let agent = await openAgent("gw-2");
  await publish("pump-2", asSent.slice(0, half));
  await allJudged("gw-2");
  await agent.close();
  agent = await openAgent("gw-2");
  await publish("pump-2", [...asSent.slice(half), { atMs: START_MS + 9 * 60_000, flow: 30, current: 3 }]);
  await startCoordinator();
  const windows = await wholeWindows("pump-2", inTime);
  expect(windows).toHaveLength(12);
  expectRight(windows, inTime);
  await agent.close();
});

test("an agent whose summaries are off tells no windows, not even those it had queued", async () => {
  await coordinator.close();
  const { asSent } = rowsFrom(START_MS, 3, 3);
  const before = await openAgent("gw-3");
  await publish("pump-3", asSent);
  await allJudged("gw-3");
  await before.close();
  await startCoordinator();
  const agent = await openAgent("gw-3", { FLEAD_SUMMARIES: "off" });
  await publish("pump-3", rowsFrom(START_MS + 180_000, 3, 4).asSent);
  await eventually("the gateway has reported its rows", async () => {
    const { items } = await get<{ items: { gatewayId: string; health: { rows: number } | null }[] }>(
      "/api/v1/gateways",
    );
    return items.find(({ gatewayId, health }) => gatewayId === "gw-3" && (health?.rows ?? 0) > 0);
  });
  expect(await windowsOf("pump-3", "flow")).toEqual([]);
  await agent.close();
});

const window = (change: Partial<WindowSummary> = {}): WindowSummary => ({
  deviceId: "pump-9",
  startMs: BigInt(START_MS),
  anomalyConfidence: 0.95,
  lateRows: 1,
  counts: [10],
  means: [2],
  deviations: [0.5],
  minima: [1],
  maxima: [3],
  last: [3],
  z: [2.5],
  ...change,
});

async function report(gateway: GatewayClient, reportId: string, ...windows: WindowSummary[]): Promise<void> {
  const summaries: WindowSummaries[] = [{ cohort: COHORT, windowMs: 30_000, channels: ["flow"], windows }];
  const value = { reportId, clock: "synced", episodes: [], health: undefined, cohorts: [], statistics: [], summaries };
  gateway.say({ $case: "report", value });
  await gateway.hears("reportResult", (result) => result.reportId === reportId);
}

test("of a report the windows that can be kept are kept once, and those that can't are counted by kind", async () => {
  const gateway = new GatewayClient(`localhost:${grpcPort}`, "gw-9");
  await gateway.hello(COHORT, planId, 1);
  const future = window({ startMs: BigInt(START_MS + 2 * 86_400_000) });
  const ancient = window({ startMs: BigInt(START_MS - 3_650 * 86_400_000) });
  for (const id of ["a", "b"]) await report(gateway, id, window(), future, ancient, window({ means: [Number.NaN] }));
  expect(await windowsOf("pump-9", "flow")).toMatchObject([
    { rawValue: 3, movingAvg30s: 2, isAnomaly: true, anomalyConfidence: expect.closeTo(0.95, 6), lateCount: 1 },
  ]);
  const kinds = lines.map((line) => (JSON.parse(line) as { kind?: string }).kind);
  expect(kinds).toEqual(expect.arrayContaining(["window_future", "window_expired", "window_malformed"]));
  gateway.close();
});

test("a day is analysed when it is asked for, and again with windows that came since", async () => {
  const date = new Date(START_MS - 3 * 86_400_000).toISOString().slice(0, 10);
  const gateway = new GatewayClient(`localhost:${grpcPort}`, "gw-10");
  await gateway.hello(COHORT, planId, 1);
  const of = (minute: number, means: number[]) =>
    window({ deviceId: "pump-10", startMs: BigInt(Date.parse(date) + minute * 60_000), means });
  const analyse = async () => {
    const response = await fetch(new URL(`/api/v1/analytics/days/${date}`, coordinator.url), { method: "POST" });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  const days = async () => (await get<{ items: unknown[] }>("/api/v1/analytics/days?device_id=pump-10")).items;
  expect((await analyse()).status).toBe(404);
  await report(gateway, "c", of(0, [2]));
  expect(await analyse()).toEqual({ status: 200, body: { date, series: 1 } });
  expect(await days()).toMatchObject([{ analysisDate: date, avg: 2, sampleCount: 10, anomalyCount: 1 }]);
  await report(gateway, "d", of(5, [3]));
  await analyse();
  expect(await days()).toMatchObject([{ analysisDate: date, avg: 2.5, sampleCount: 20, anomalyCount: 2 }]);
  gateway.close();
});
