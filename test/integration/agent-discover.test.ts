// `flead agent discover` on a broker, as a person runs it; what it prints is tried by `flead agent check`.
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../runtime/package-root.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { temporaryFolder } from "../support/temp.ts";

const flead = join(packageRoot, "cli/flead.ts");
const folder = temporaryFolder("agent-discover");
const env = { ...process.env, NODE_NO_WARNINGS: "1" };

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

function discover(...args: string[]) {
  const child = spawn(process.execPath, [flead, "agent", "discover", ...args], { env });
  cleanup.push(() => void child.kill());
  const said = { out: "", err: "" };
  child.stdout.on("data", (text) => {
    said.out += text;
  });
  child.stderr.on("data", (text) => {
    said.err += text;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { said, ended, stop: () => child.kill("SIGINT") };
}

test("what was heard is proposed as a mapping that reads it", async () => {
  const site = await MqttSite.open();
  cleanup.push(() => site.close());
  const { said, ended, stop } = discover("--broker", site.url, "--seconds", "600");
  await eventually("it listens", () => (said.err.includes("Listening to #") ? true : undefined));
  await site.say("zigbee2mqtt/lamp", { temperature: 20 });
  await site.say("plant/pump-1/flow", "3.5");
  await site.say("plant/pump-1/\u0007log", "text");
  await site.say("last", "text");
  await eventually("it has heard them", () => (said.err.includes("4 messages") ? true : undefined));
  stop();
  expect(await ended).toBe(0);
  expect(said.out).toMatch(/- preset: zigbee2mqtt/);
  expect(said.out).not.toContain("\u0007");
  expect(said.err).toContain("not proposed: 1 topics as last");
  const file = join(folder, "draft.yaml");
  writeFileSync(file, said.out);
  const { stdout, status } = spawnSync(
    process.execPath,
    [flead, "agent", "check", "--config", file, "--sample", "plant/pump-1/flow", "3.5"],
    { encoding: "utf8", env },
  );
  expect(status).toBe(0);
  expect(stdout).toMatch(/pump-1 .*\n {4}flow {2}3.5/);
});

test("a broker that is not there is told at once", async () => {
  const { said, ended } = discover("--broker", "mqtt://127.0.0.1:1");
  expect(await ended).toBe(1);
  expect(said.err).toContain("the broker at mqtt://127.0.0.1:1 can't be used: connect ECONNREFUSED");
  expect(said.err).toContain("is the broker running, and is the port right?");
});

test.each(["plant/#/flow", "plant/pump+", ""])(
  "a topic filter that no broker takes, %j, is refused with what is allowed, before it connects",
  async (topic) => {
    const { said, ended } = discover("--broker", "mqtt://127.0.0.1:1", "--seconds", "600", "--topic", topic);
    expect(await ended).toBe(2);
    expect(said.err).toContain(`--topic ${JSON.stringify(topic)}: `);
    expect(said.err).toMatch(/a level is a text, \+, .* or # at the end|a topic has 1 to \d+ characters/);
    expect(said.err).not.toContain("can't be used");
  },
);

const mosquitto = debianProgram("mosquitto");

test.skipIf(mosquitto === null)(
  "a broker that lets nobody in says what to look at (needs Debian's mosquitto)",
  async () => {
    const broker = await startMosquitto(mosquitto as string, folder, { lines: ["allow_anonymous false"] });
    cleanup.push(() => broker.stop());
    for (const protocol of ["3.1.1", "5"]) {
      const { said, ended } = discover("--broker", broker.url, "--protocol", protocol);
      expect(await ended).toBe(1);
      expect(said.err).toMatch(/Not authorized; are user and password right \(.*--user-file and --password-file\)\?/);
    }
  },
);
