// An agent with a mapping and two real brokers: one by TLS, client certificate, user and password; one by MQTT 5 with a session.
import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectAsync, type MqttClient } from "mqtt";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { examine } from "../../agent/adapters/doctor/examine.ts";
import type { Agent } from "../../agent/agent.ts";
import { readAgentConfig } from "../../agent/config.ts";
import type { Finding } from "../../agent/core/finding.ts";
import { startAgent } from "../../agent/main.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const passwd = debianProgram("mosquitto_passwd");
const openssl = debianProgram("openssl");
const folder = temporaryFolder("agent-brokers");
const here = (name: string) => join(folder, name);

const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

/** An authority, and certificates for the broker `broker.plant` and for the agent. */
function makeCertificates(): void {
  const run = (...args: string[]) => execFileSync(openssl as string, args, { cwd: folder, stdio: "ignore" });
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  run("req", "-x509", ...ec, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=plant", "-days", "2");
  for (const [name, subject] of [
    ["broker", "broker.plant"],
    ["agent", "gw-1"],
  ] as const) {
    run("req", ...ec, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${subject}`);
    writeFileSync(here(`${name}.ext`), `subjectAltName=DNS:${subject}\n`);
    const signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", `${name}.ext`];
    run("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...signing);
    chmodSync(here(`${name}.key`), 0o644); // mosquitto gives up root before it reads it
  }
}

async function open(lines: readonly string[]): Promise<Mosquitto> {
  const broker = await startMosquitto(mosquitto as string, folder, { lines });
  cleanup.push(() => broker.stop());
  return broker;
}

async function client(url: string, options = {}): Promise<MqttClient> {
  const opened = await connectAsync(url, options);
  cleanup.push(() => opened.endAsync(true));
  return opened;
}

/** What `flead agent doctor` finds of them. */
async function certificatesBy(mappingFile: string): Promise<Finding[]> {
  const site = { site: "north", clientId: "flead-north-gw-1", mqttUrl: "", mappingFile };
  const gateway = { dataDir: here("data"), cohorts: [], coordinators: [], ownTopics: [] };
  const found: Finding[] = [];
  for await (const finding of examine({ ...site, ...gateway })) found.push(finding);
  expect(found.filter(({ check, verdict }) => check === "broker" && verdict !== "ok")).toEqual([]);
  return found.filter(({ check }) => check === "certificates");
}

async function openAgent(mapping: string, lines: string[]): Promise<Agent> {
  writeFileSync(here("mapping.yaml"), mapping);
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_COORDINATOR: "127.0.0.1:1",
    FLEAD_DATA_DIR: here("data"),
    FLEAD_MAPPING: here("mapping.yaml"),
  });
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  let closing: Promise<void> | null = null;
  const close = agent.close.bind(agent);
  agent.close = () => {
    closing ??= close();
    return closing;
  };
  cleanup.push(() => agent.close());
  return agent;
}

describe.skipIf(mosquitto === null || passwd === null || openssl === null)(
  "brokers of a mapping (needs Debian's mosquitto and openssl)",
  () => {
    test("rows come from both, alerts' status goes to the marked one, and what came meanwhile is kept by its session", async () => {
      makeCertificates();
      execFileSync(passwd as string, ["-b", "-c", here("passwords"), "flead", "s3cret"], { stdio: "ignore" });
      chmodSync(here("passwords"), 0o644);
      writeFileSync(here("user"), "flead\n");
      writeFileSync(here("password"), "s3cret\n");
      const tls = ["allow_anonymous false", `password_file ${here("passwords")}`, `cafile ${here("ca.pem")}`];
      const keys = [`certfile ${here("broker.pem")}`, `keyfile ${here("broker.key")}`, "require_certificate true"];
      // Root's mosquitto would look for the files as another user.
      const user = process.getuid?.() === 0 ? ["user root"] : [];
      const secure = await open([...tls, ...keys, ...user]);
      const plain = await open(["allow_anonymous true", ...user]);
      const mapping = `brokers:
  - {name: field, url: "${plain.url}", protocol: 5, cleanSession: false, sessionExpirySeconds: 600}
  - name: plant
    url: mqtts://127.0.0.1:${secure.port}
    serverName: broker.plant
    userFile: user
    passwordFile: password
    caFile: ca.pem
    certificateFile: agent.pem
    keyFile: agent.key
    alerts: true
subscriptions:
  - {preset: zigbee2mqtt, broker: field}
  - {topic: "plant/{device}/flow", broker: plant, device: "{device}", decode: number, channels: [{name: flow}]}
  - {preset: sparkplug, broker: field}
`;
      const credentials = {
        username: "flead",
        password: "s3cret",
        ca: [execFileSync("cat", [here("ca.pem")])],
        cert: execFileSync("cat", [here("agent.pem")]),
        key: execFileSync("cat", [here("agent.key")]),
        servername: "broker.plant",
      };
      const statuses: { data: { state: string; cohorts: { devices: number }[] } }[] = [];
      const atPlant = await client(`mqtts://127.0.0.1:${secure.port}`, credentials);
      atPlant.on("message", (_, bytes) => statuses.push(JSON.parse(bytes.toString())));
      await atPlant.subscribeAsync("flead/v1/north/gw-1/status");
      const atField = await client(plain.url);
      const commands: string[] = [];
      atField.on("message", (topic) => commands.push(topic));
      await atField.subscribeAsync("spBv1.0/+/NCMD/+");

      const lines: string[] = [];
      const agent = await openAgent(mapping, lines);
      await eventually("the agent is online", () => (statuses.at(-1)?.data.state === "online" ? true : undefined));
      const found = await certificatesBy(here("mapping.yaml"));
      expect(found.map(({ verdict }) => verdict)).toEqual(["warn", "warn"]); // they are made for two days
      expect(found.map(({ detail }) => detail.replace(/ valid until.*/, ""))).toEqual([
        "the agent's (for broker plant) certificate is",
        "broker plant's certificate is",
      ]);
      await eventually("the edge node is asked for its birth, so the field is listened to", async () => {
        await atField.publishAsync("spBv1.0/g/DDATA/n/d", Buffer.from([0x18, 1]), { qos: 1 });
        return commands.includes("spBv1.0/g/NCMD/n") ? true : undefined;
      });
      await atField.publishAsync("zigbee2mqtt/lamp", '{"temperature": 20}', { qos: 1 });
      await atPlant.publishAsync("plant/pump-1/flow", "3.5", { qos: 1 });
      await atPlant.publishAsync("zigbee2mqtt/lamp", '{"temperature": 20}', { qos: 1 }); // nobody listens to it here
      /** An operator's word is answered by a new status. */
      const serves = (devices: number) =>
        eventually(`${devices} devices`, async () => {
          const ack = "flead/v1/north/gw-1/alert/pump-1/federated/ack";
          await atPlant.publishAsync(ack, '{"action": "reset_threshold"}', { qos: 1 });
          return statuses.at(-1)?.data.cohorts[0]?.devices === devices ? true : undefined;
        });
      await serves(2);
      await agent.close();
      await eventually("good-bye", () => (statuses.at(-1)?.data.state === "offline" ? true : undefined));

      await atField.publishAsync("zigbee2mqtt/lamp-2", '{"temperature": 21}', { qos: 1 });
      await openAgent(mapping, lines);
      await serves(3);
      expect(lines.join("\n")).not.toContain("s3cret");
    });

    test("a file that can't be read is named with its broker and key", async () => {
      const mapping = `brokers: [{name: plant, url: "mqtt://127.0.0.1:1", passwordFile: no-such}]
subscriptions: [{preset: flead}]`;
      await expect(openAgent(mapping, [])).rejects.toThrow(/^broker plant: passwordFile: ENOENT.*no-such/);
    });

    test("a broker that refuses the password is told by name, and tried again", async () => {
      execFileSync(passwd as string, ["-b", "-c", here("passwords"), "flead", "other"], { stdio: "ignore" });
      chmodSync(here("passwords"), 0o644);
      writeFileSync(here("user"), "flead\n");
      writeFileSync(here("password"), "s3cret\n");
      const user = process.getuid?.() === 0 ? ["user root"] : [];
      const broker = await open(["allow_anonymous false", `password_file ${here("passwords")}`, ...user]);
      const lines: string[] = [];
      await openAgent(
        `brokers: [{name: plant, url: "${broker.url}", userFile: user, passwordFile: password}]
subscriptions: [{preset: flead}]`,
        lines,
      );
      const told = await eventually("the refusal is logged", () =>
        lines.find((line) => line.includes('"kind":"broker"')),
      );
      expect(told).toMatch(/MQTT plant.*(Not authorized|Bad username)/);
      expect(lines.join("\n")).not.toContain("s3cret");
    });
  },
);
