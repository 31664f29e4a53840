// What an agent says of alerts, over the broker of production and with its command-line programs.
import { execFile, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { MqttBroker } from "../../agent/adapters/mqtt.ts";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Device } from "../../agent/core/device.ts";
import { Episodes } from "../../agent/episodes.ts";
import { Publisher } from "../../agent/publisher.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { ended, type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { BASE, openAgent, Pump, SiteClient, START_MS } from "../support/mosquitto-site.ts";
import { StillClock } from "../support/still-clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const mosquittoPub = debianProgram("mosquitto_pub");
const GUIDE = readFileSync(join(packageRoot, "docs/alerts.md"), "utf8");

/** As the guide wants it for many devices; `given`: the port of a broker that has stopped. */
async function openBroker(...given: readonly number[]): Promise<Mosquitto> {
  const lines = ["allow_anonymous true", "max_queued_messages 10000"];
  const [port] = given;
  const at = port === undefined ? { lines } : { lines, port };
  const broker = await startMosquitto(mosquitto as string, temporaryFolder("agent-alerts"), at);
  onTestFinished(() => broker.stop());
  return broker;
}

const transitions = (site: SiteClient, what: string, count = 1) =>
  eventually(`${count} ${what}`, () => {
    const said = site.events(`${BASE}/event/pump-1/z_score`).filter(({ type }) => type === `flead.anomaly.${what}.v1`);
    return said.length >= count ? said : undefined;
  });

const online = (site: SiteClient, count = 1) =>
  eventually("the agent is online", () => {
    const said = site.events(`${BASE}/status`).filter(({ data }) => data.state === "online");
    return said.length >= count ? said : undefined;
  });

/** The guide's code block in that language. */
const snippet = (language: string) => GUIDE.split(`\`\`\`${language}\n`)[1]?.split("```")[0] ?? "";

/** The guide's command that holds the word, as a shell runs it, for a broker on that port. */
function command(word: string, port: number): string {
  const lines = GUIDE.replaceAll(" \\\n", " ").split("\n");
  const line = lines.find((each) => each.trim().startsWith("mosquitto_pub") && each.includes(`"${word}"`)) ?? "";
  return line.replace("mosquitto_pub", `${mosquittoPub} -p ${port}`);
}

describe.skipIf(mosquitto === null || mosquittoPub === null)("over mosquitto", () => {
  test("the guide's consumer shows an alert from raised to cleared, and the guide's commands are heard", async () => {
    const { url, port } = await openBroker();
    const site = await SiteClient.open(url, [`${BASE}/#`]);
    const file = join(packageRoot, "node_modules", `.alerts-guide-${port}.mjs`); // where it finds mqtt
    writeFileSync(file, snippet("js"));
    const consumer = spawn(process.execPath, [file, url], { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => ended(consumer));
    let shown = "";
    consumer.stdout.on("data", (bytes: Buffer) => {
      shown += bytes.toString();
    });
    await openAgent({ url, folder: temporaryFolder("agent-alerts-data") });
    await online(site);
    const pump = new Pump(site);
    await pump.run(60);
    await pump.run(5, 4);
    await transitions(site, "raised");
    await eventually("the consumer shows the alert", () => (shown.includes(" raised ") ? true : undefined));
    const word = (name: string) => promisify(execFile)("bash", ["-c", command(name, port)]);
    for (const [count, name] of ["acknowledge", "confirm", "false_alarm", "snooze", "unsnooze"].entries()) {
      await word(name);
      const acked = await transitions(site, "acked", count + 1);
      expect(acked.at(-1)?.data.ack).toMatchObject({ action: name });
    }
    await pump.run(30);
    await transitions(site, "cleared");
    await eventually("the consumer shows the end", () => (shown.includes(" cleared ") ? true : undefined));
    expect(shown).toMatch(
      /raised \w+ hall-1\/gw-1\/pump-1 \(z_score\) current \d\.\d+ A, expected [\d.]+ to [\d.]+; 1 active/,
    );
    expect(shown).toMatch(/acked .* 1 active/);
    expect(shown).toMatch(/cleared .* 0 active/);
  });

  test("a snooze that is said over MQTT holds an alert back, is in the status, and ends when it is ended", async () => {
    const { url, port } = await openBroker();
    const site = await SiteClient.open(url, [`${BASE}/#`]);
    const folder = temporaryFolder("agent-alerts-data");
    const agent = await openAgent({ url, folder });
    await online(site);
    const pump = new Pump(site);
    await pump.run(60);
    await promisify(execFile)("bash", ["-c", command("snooze", port)]);
    const snoozed = (alerts: number) =>
      eventually(`${alerts} snoozed`, () => {
        const said = site.events(`${BASE}/status`).at(-1)?.data.snoozed;
        return said?.alerts === alerts ? said : undefined;
      });
    expect(Object.keys((await snoozed(1)).until)).toEqual(["pump-1/z_score"]);
    await pump.run(5, 4);
    const before = (await online(site)).length;
    await agent.close();
    await openAgent({ url, folder });
    expect((await online(site, before + 1)).at(-1)?.data.snoozed).toMatchObject({ alerts: 1 });
    await pump.run(2, 4);
    await promisify(execFile)("bash", ["-c", command("unsnooze", port)]); // heard after the rows before it
    await snoozed(0);
    expect(site.on(`${BASE}/event/pump-1/z_score`)).toEqual([]); // an event would have come before the status
    await pump.run(1, 4);
    await transitions(site, "raised");
  });

  test("when the broker comes back with nothing, it is told the status again", async () => {
    const first = await openBroker();
    const site = await SiteClient.open(first.url, [`${BASE}/#`]);
    await openAgent({ url: first.url, folder: temporaryFolder("agent-alerts-data") });
    const before = (await online(site)).length;
    await first.stop();
    await openBroker(first.port);
    await online(site, before + 1);
    const late = await SiteClient.open(first.url, [`${BASE}/status`]);
    await online(late);
    expect(late.events(`${BASE}/status`)[0]?.data).toMatchObject({ clock: expect.stringMatching(/^(un)?sync/) });
  });

  test("Home Assistant is told of devices as they come, when it starts, when the broker is back, and when they are gone", async () => {
    const first = await openBroker();
    const config = "homeassistant/device/flead__hall-1__gw-1__pump-1/config";
    const other = config.replace("pump-1", "fan-1");
    const gateway = "homeassistant/device/flead__hall-1__gw-1/config";
    const site = await SiteClient.open(first.url, [`${BASE}/#`, "homeassistant/device/#"]);
    const folder = temporaryFolder("agent-alerts-data");
    const variables = { FLEAD_HOME_ASSISTANT: "homeassistant" };
    const agent = await openAgent({ url: first.url, folder, variables });
    await online(site);
    await new Pump(site).run(2);
    await new Pump(site, { id: "fan-1" }).run(2);
    const said = (topic: string, count: number) =>
      eventually(`${topic} is said ${count} times`, () =>
        site.on(topic).length >= count ? site.on(topic) : undefined,
      );
    await said(gateway, 1);
    await said(config, 1);
    const told = (await said(other, 1)).length;
    await site.say("homeassistant/status", "offline");
    await site.say("homeassistant/status", "online");
    await said(other, told + 1);
    await first.stop();
    await openBroker(first.port);
    await said(other, told + 2);
    await agent.close();
    const kept = await openAgent({
      url: first.url,
      folder,
      variables: { ...variables, FLEAD_COHORTS: "default=pump-*" },
    });
    await eventually("the fan is gone", () => (site.on(other).at(-1)?.text === "" ? true : undefined));
    expect(site.on(config).at(-1)?.text).not.toBe("");
    await kept.close();
    await openAgent({ url: first.url, folder });
    for (const topic of [config, gateway]) {
      await eventually(`${topic} is gone`, () => (site.on(topic).at(-1)?.text === "" ? true : undefined));
    }
  });

  test("2,000 devices that raise one after another are each told, also what waited for the broker", async () => {
    const clock = new StillClock(START_MS);
    const store = new SqliteStore(join(temporaryFolder("many-alerts"), "agent.sqlite"), { nowMs: 0 });
    onTestFinished(() => store.close());
    let ids = 0;
    const origin = { site: "hall-1", gatewayId: gatewayId("gw-1"), alertPrefix: "insa/iiot/ml/anomaly" };
    const episodes = new Episodes({
      store,
      origin,
      devices: () => 2000,
      newId: () => `${++ids}`,
      clock,
      onTransition: () => undefined,
    });
    const contributors = Array.from({ length: 5 }, (_, index) => ({
      channel: `channel_${index}`,
      share: 1 / 3,
      value: 1 / 7,
      expected: [1 / 9, 2 / 9] as const,
      unit: "mm/s",
    }));
    for (let device = 0; device < 2000; device++) {
      const name = deviceId(`pump-${device}`);
      const atMs = START_MS + 1000 * device;
      episodes.observe(
        { deviceId: name, cohort: cohortId("pumps"), kind: "z_score", globalVersion: 0, localSteps: 0 },
        {
          atMs,
          active: true,
          over: true,
          score: 9,
          threshold: 5,
          ruleThreshold: null,
          confidence: 0.8,
          contributors,
          missing: [],
        },
        { atMs, receivedAtMs: atMs, record: () => new Device(name, [{ name: "flow", unit: "" }]).record() },
      );
    }
    expect(store.outboxBytes().alerts).toBeLessThan(16 * 1024 * 1024);
    expect(store.counter("dropped_alert")).toBe(0);
    const { url } = await openBroker();
    const address = { name: "site", url, options: { clientId: "many" } };
    let connected = () => {};
    const isConnected = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const handlers = {
      onMessage: () => undefined,
      whenCalm: () => null,
      onConnect: () => connected(),
      onProblem: () => undefined,
    };
    const broker = new MqttBroker({ address, topics: [], will: null, nowMs: Date.now }, handlers);
    onTestFinished(() => broker.close());
    await isConnected;
    await new Publisher(store.alerts, () => broker).wake();
    expect(store.outboxBytes().alerts).toBe(0);
    const late = await SiteClient.open(url, [`${BASE}/alert/+/+`]);
    await eventually("2,000 states", () => (late.heard.length >= 2000 ? true : undefined));
    const alerting = new Set(late.heard.map(({ topic }) => late.events(topic)[0]?.source));
    expect(alerting.size).toBe(2000);
  });
});
