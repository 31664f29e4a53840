import { createServer } from "node:http";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { AgentOperation } from "../../agent/adapters/operation.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/mosquitto.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { ScriptedCoordinator } from "../support/scripted-coordinator.ts";
import { temporaryFolder } from "../support/temp.ts";

async function openAgent({ coordinator = 1, http = 0, site }: { coordinator?: number; http?: number; site: MqttSite }) {
  const port = http === 0 ? await freePort() : http;
  const lines: string[] = [];
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator}`,
    FLEAD_DATA_DIR: temporaryFolder("agent-operation"),
    FLEAD_AGENT_HTTP: `127.0.0.1:${port}`,
  });
  const agent = await startAgent(config, pino({}, { write: (line) => lines.push(line) }));
  onTestFinished(() => agent.close());
  const url = `http://127.0.0.1:${port}`;
  const health = async () => {
    const answer = await fetch(`${url}/healthz`);
    return { status: answer.status, body: await answer.json() };
  };
  const metrics = async () => readMetrics(await (await fetch(`${url}/metrics`)).text());
  return { url, lines, health, metrics };
}

async function openSite(): Promise<MqttSite> {
  const site = await MqttSite.open();
  onTestFinished(() => site.close());
  return site;
}

/** Figure by name and labels, as in the text; every line has to be one of the format. */
function readMetrics(text: string): Map<string, number> {
  const lines = text.split("\n").slice(0, -1);
  for (const line of lines) {
    expect(line).toMatch(/^(# (HELP|TYPE) flead_agent_\w+ .+|flead_agent_\w+(\{\w+="[^"]*"\})? -?[\d.e+-]+)$/);
  }
  const figures = lines.filter((line) => !line.startsWith("#"));
  return new Map(
    figures.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))] as const;
    }),
  );
}

test("an agent without its coordinator is healthy, and says so", async () => {
  const { health, metrics } = await openAgent({ site: await openSite() });
  expect(await health()).toEqual({ status: 200, body: { status: "healthy", ailments: [] } });
  const figures = await metrics();
  expect(figures.get("flead_agent_healthy")).toBe(1);
  expect(figures.get('flead_agent_connected{to="coordinator"}')).toBe(0);
});

test("figures count rows, refusals by kind, devices by detector and bytes, and no device is named", async () => {
  const site = await openSite();
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  const { metrics, url } = await openAgent({ site, coordinator: coordinator.port });
  await eventually("the agent listens", () => (site.has("flead-north-gw-1") ? true : undefined));
  const judged = await eventually("a row is judged", async () => {
    await site.say("flead/v1/north/pump-secret/telemetry", { flow: 1, timestamp: new Date().toISOString() });
    const figures = await metrics();
    return (figures.get("flead_agent_rows_judged_total") ?? 0) > 0 ? figures : undefined;
  });
  expect(judged.get('flead_agent_devices{detector="z_score"}')).toBe(1);
  await site.say("flead/v1/north/pump-secret/telemetry", "not json");
  await eventually("the refusal", async () =>
    (await metrics()).get('flead_agent_readings_refused_total{kind="malformed_json"}') === 1 ? true : undefined,
  );
  await eventually("the session's bytes", async () => {
    const figures = await metrics();
    const sent = figures.get('flead_agent_today_sent_bytes{to="coordinator"}') ?? 0;
    return sent > 0 && figures.get('flead_agent_connected{to="coordinator"}') === 1 ? true : undefined;
  });
  const figures = await metrics();
  expect(figures.get('flead_agent_today_received_bytes{from="broker"}')).toBeGreaterThan(0);
  expect(figures.get("flead_agent_store_bytes")).toBeGreaterThan(4096);
  expect(figures.get("flead_agent_ballast")).toBe(1);
  expect(await (await fetch(`${url}/metrics`)).text()).not.toContain("pump-secret");
});

test("other paths and methods are refused", async () => {
  const { url } = await openAgent({ site: await openSite() });
  expect((await fetch(`${url}/`)).status).toBe(404);
  expect((await fetch(`${url}/metrics`, { method: "POST", body: "x" })).status).toBe(405);
});

test("where the port is taken the agent works without, and says so", async () => {
  const site = await openSite();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void other.close());
  const { port } = other.address() as { port: number };
  const { lines } = await openAgent({ site, http: port });
  await eventually("the warning", () => lines.find((line) => line.includes("health and metrics are not served")));
  await eventually("the agent is online", () => (site.has("flead-north-gw-1") ? true : undefined));
});

test.each([
  ["its database is damaged", { damaged: () => true, unjudgedForMs: () => 0 }, /damaged/],
  ["its rows are not judged", { damaged: () => false, unjudgedForMs: () => 61_000 }, /none was judged for 61 s/],
])("an agent that can't go on, since %s, is ended once, with the reason", async (_, view, reason) => {
  const ended: string[] = [];
  let looks = 0;
  const operation = new AgentOperation({
    http: null,
    stuckMs: 60_000,
    systemd: false,
    watchdogMs: null,
    onProblem: () => undefined,
    onStuck: (what) => ended.push(what),
  });
  onTestFinished(() => operation.close());
  const damaged = () => {
    looks++;
    return view.damaged();
  };
  operation.begin({ ...view, damaged, ailments: () => [], metrics: () => "" });
  const [why] = await eventually("the end", () => (ended.length > 0 ? ended : undefined));
  expect(why).toMatch(reason);
  expect([ended.length, looks]).toEqual([1, 1]);
});
