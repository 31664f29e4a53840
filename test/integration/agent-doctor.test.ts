import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Aedes } from "aedes";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { type ExaminationSettings, examine } from "../../agent/adapters/doctor/examine.ts";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { readAgentConfig } from "../../agent/config.ts";
import { clockFinding, expiry, type Finding, roomFinding } from "../../agent/core/finding.ts";
import { labelTopics } from "../../agent/core/labels.ts";
import { startAgent } from "../../agent/main.ts";
import { cohortId, gatewayId } from "../../learning/ids.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const PLAN = testPlan(smallSettings());
const root = temporaryFolder("agent-doctor");
let folders = 0;
const newFolder = () => join(root, `${++folders}`);

const settings = (dataDir: string, mqttUrl: string, coordinator: number): ExaminationSettings => ({
  site: "north",
  clientId: "flead-north-gw-1",
  mqttUrl,
  mappingFile: null,
  dataDir,
  cohorts: [cohortId("pumps")],
  coordinators: [{ host: "127.0.0.1", port: coordinator }],
  ownTopics: labelTopics({ site: "north", gatewayId: gatewayId("gw-1") }),
});

/** The clock is this machine's. */
async function findings(given: ExaminationSettings): Promise<Finding[]> {
  const all: Finding[] = [];
  for await (const finding of examine(given)) all.push(finding);
  expect(all.some(({ check }) => check === "clock")).toBe(true);
  return all.filter(({ check }) => check !== "clock");
}

const verdicts = (found: readonly Finding[]) => found.map(({ check, verdict }) => `${verdict} ${check}`);

async function openSite(): Promise<MqttSite> {
  const site = await MqttSite.open();
  onTestFinished(() => site.close());
  return site;
}

async function openCoordinator(): Promise<ScriptedCoordinator> {
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged("pumps", PLAN), globalModel("pumps", PLAN)];
  return coordinator;
}

test("beside a running agent all is well, and the agent is not disturbed", async () => {
  const [site, coordinator, dataDir] = [await openSite(), await openCoordinator(), newFolder()];
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
    FLEAD_DATA_DIR: dataDir,
    FLEAD_COHORTS: "pumps=*",
    FLEAD_AGENT_HTTP: "off",
  });
  await site.listen("flead/v1/north/gw-1/#");
  const agent = await startAgent(config, pino({ level: "silent" }));
  onTestFinished(() => agent.close());
  await eventually("the model is active", () => site.events("flead/v1/north/gw-1/model/activated")[0]);
  const found = await findings(settings(dataDir, site.url, coordinator.port));
  expect(verdicts(found)).toEqual([
    "ok disk",
    "ok database",
    "ok plan",
    "ok broker",
    "ok certificates",
    "ok coordinator",
  ]);
  expect(found[2]?.detail).toContain(`${PLAN.planId.slice(0, 12)}, version 1`);
  expect(site.has("flead-north-gw-1")).toBe(true);
  expect(coordinator.hellos).toHaveLength(1);
  const states = site.events("flead/v1/north/gw-1/status").map(({ event }) => event.data.state);
  expect(states, "its last will was not sent").not.toContain("offline");
});

test("a new gateway has no plan yet, and asks the coordinator for none", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const found = await findings(settings(newFolder(), site.url, coordinator.port));
  expect(verdicts(found)).toContain("warn plan");
  expect(found.at(-1)).toMatchObject({ check: "coordinator", verdict: "ok" });
});

test("a plan that the coordinator does not have is named", async () => {
  const [site, dataDir] = [await openSite(), newFolder()];
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  const store = new SqliteStore(join(dataDir, "agent.sqlite"), { nowMs: 0 });
  store.learning.startPlan(cohortId("pumps"), { bytes: PLAN.bytes, ...decodeBundle(PLAN.bytes, PLAN.planId) });
  store.close();
  const found = await findings(settings(dataDir, site.url, coordinator.port));
  expect(verdicts(found)).toContain("ok plan");
  expect(found.at(-1)).toMatchObject({ check: "coordinator", verdict: "warn" });
  expect(found.at(-1)?.detail).toContain("no such plan");
});

test("a folder that is not there is named and not made", async () => {
  const [site, coordinator, dataDir] = [await openSite(), await openCoordinator(), newFolder()];
  const [disk] = await findings(settings(dataDir, site.url, coordinator.port));
  expect(disk).toMatchObject({ check: "disk", verdict: "ok" });
  expect(disk?.detail).toContain(`${dataDir} is not there yet; the agent makes it`);
  const below = join(dataDir, "a", "b");
  const [typo] = await findings(settings(below, site.url, coordinator.port));
  expect(typo).toMatchObject({ check: "disk", verdict: "warn" });
  expect(typo?.detail).toContain(`${below} is not there yet`);
  expect(typo?.detail).toContain(`nor is ${dataDir};`);
  expect(existsSync(dataDir)).toBe(false);
});

test("a folder that can't be made fails, and is said to stand below a file", async () => {
  const file = newFolder();
  writeFileSync(file, "");
  const found = await findings(settings(join(file, "a", "b"), "mqtt://127.0.0.1:1", 1));
  expect(verdicts(found).slice(0, 2)).toEqual(["fail disk", "fail broker"]);
  expect(found[0]?.detail).toContain(`${file} is a file`);
});

test("of a broker that is not reached it is not said that its connection is not encrypted", async () => {
  const found = async (url: string) =>
    (await findings(settings(newFolder(), url, 1))).filter(({ check }) => check === "certificates");
  expect(await found("mqtts://127.0.0.1:1")).toMatchObject([
    { verdict: "warn", detail: expect.stringContaining("broker default's was not examined") },
  ]);
  expect(await found("mqtt://127.0.0.1:1")).toMatchObject([
    { verdict: "ok", detail: "none in use; the connections are not encrypted" },
  ]);
});

test("a mapping, or a file that it names, that is not there is said to be not there", async () => {
  const folder = newFolder();
  mkdirSync(folder);
  const mappingFile = join(folder, "mapping.yaml");
  const site = async () => {
    const found = await findings({ ...settings(folder, "mqtt://127.0.0.1:1", 1), mappingFile });
    expect(found.filter(({ check }) => check === "certificates")).toEqual([]);
    return found.find(({ check }) => check === "broker");
  };
  expect((await site())?.advice).toContain(`${mappingFile} is not there`);
  const mapping =
    "brokers: [{ name: plant, url: 'mqtts://127.0.0.1:1', caFile: ca.pem }]\nsubscriptions: [{ preset: zigbee2mqtt }]\n";
  writeFileSync(mappingFile, mapping);
  const missing = await site();
  expect(missing?.detail).toContain("broker plant: caFile");
  expect(missing?.advice).toContain(`${join(folder, "ca.pem")} is not there`);
  writeFileSync(mappingFile, "brokers: 1");
  expect((await site())?.advice).toContain("correct the mapping file");
});

test("where nobody is there each line says what to do", async () => {
  const found = await findings(settings(newFolder(), "mqtt://user:s3cret@127.0.0.1:1", 1));
  const failed = found.filter(({ verdict }) => verdict === "fail");
  expect(failed.map(({ check }) => check)).toEqual(["broker", "coordinator"]);
  for (const { advice } of failed) expect(advice).not.toBeNull();
  expect(JSON.stringify(found)).not.toContain("s3cret");
});

test("a broker that refuses a subscription is named with it", async () => {
  const broker = await Aedes.createBroker({
    authorizeSubscribe: (_, subscription, done) =>
      done(null, subscription.topic.endsWith("/ack") ? null : subscription),
  });
  const server = createServer(broker.handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void broker.close(() => server.close()));
  const { port } = server.address() as { port: number };
  const found = await findings(settings(newFolder(), `mqtt://127.0.0.1:${port}`, 1));
  const refused = found.find(({ check }) => check === "broker");
  expect(refused?.verdict).toBe("fail");
  expect(refused?.detail).toContain("refuses");
});

test("a damaged database and a folder that can't be written fail, and the file stays as it was", async () => {
  const dataDir = newFolder();
  mkdirSync(dataDir);
  const path = join(dataDir, "agent.sqlite");
  writeFileSync(path, "noise".repeat(1000));
  writeFileSync(`${path}.damaged-17`, "earlier noise");
  const found = await findings(settings(dataDir, "mqtt://127.0.0.1:1", 1));
  expect(verdicts(found).slice(0, 3)).toEqual(["ok disk", "fail database", "warn database"]);
  expect(readFileSync(path, "utf8")).toBe("noise".repeat(1000));
  expect(verdicts(await findings(settings(path, "mqtt://127.0.0.1:1", 1)))[0]).toBe("fail disk");
});

test("the command prints a line a finding and fails with exit code 1", async () => {
  const args = ["agent", "doctor", "--gateway-id", "gw-1", "--data-dir", newFolder(), "--mqtt", "mqtt://127.0.0.1:1"];
  const program = join(packageRoot, "dist/cli/flead.js");
  const [code, text] = await new Promise<[unknown, string]>((resolve) =>
    execFile(process.execPath, [program, ...args, "--coordinator", "127.0.0.1:1"], (error, stdout) =>
      resolve([error?.code ?? 0, stdout]),
    ),
  );
  expect(code).toBe(1);
  expect(text).toMatch(/^ok {4}disk/m);
  expect(text).toMatch(/^fail {2}broker .+ -> .+/m);
  expect(text).toMatch(/^fail {2}coordinator/m);
});

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 26);

test("a certificate warns for thirty days and fails when it has expired", () => {
  const verdict = (days: number) => expiry("its", NOW_MS + days * DAY_MS, NOW_MS).verdict;
  expect([verdict(31), verdict(29), verdict(-1)]).toEqual(["ok", "warn", "fail"]);
});

test("a clock that was never set fails, one that was set back or is not kept right warns", () => {
  const verdict = (facts: Partial<Parameters<typeof clockFinding>[0]>) =>
    clockFinding({ nowMs: NOW_MS, synchronized: true, lastWrittenMs: null, ...facts }).verdict;
  expect(verdict({})).toBe("ok");
  expect(verdict({ synchronized: null, lastWrittenMs: NOW_MS })).toBe("ok");
  expect(verdict({ nowMs: 1_000 })).toBe("fail");
  expect(verdict({ lastWrittenMs: NOW_MS + DAY_MS })).toBe("warn");
  expect(verdict({ synchronized: false })).toBe("warn");
});

test("little room warns, none fails", () => {
  const verdict = (mib: number) => roomFinding(mib * 1024 ** 2, "/data").verdict;
  expect([verdict(65), verdict(63), verdict(0.5)]).toEqual(["ok", "warn", "fail"]);
});
