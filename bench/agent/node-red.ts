// Node-RED doing the same by a flow: subscribe, parse, z-score of each channel, publish. Fetched from npm for the run.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { connectAsync, type MqttClient } from "mqtt";
import { within } from "../../runtime/retry.ts";
import type { Subject } from "./subjects.ts";

export const NODE_RED = "node-red@5.0.7";
const INSTALL_MS = 300_000;
const START_MS = 60_000;
const COUNT_TOPIC = "bench/node-red/count";

/** A running mean and deviation a channel; every thousandth message says how many there were. */
const Z_SCORE = `
const device = msg.topic.split("/")[3];
const all = context.get("devices") || {};
const state = all[device] || (all[device] = {});
let worst = 0;
for (const [name, value] of Object.entries(msg.payload)) {
  if (name === "timestamp") continue;
  const s = state[name] || (state[name] = { n: 0, mean: 0, m2: 0 });
  const sd = s.n > 30 ? Math.sqrt(s.m2 / (s.n - 1)) : 0;
  if (sd > 0) worst = Math.max(worst, Math.abs(value - s.mean) / sd);
  s.n++;
  const d = value - s.mean;
  s.mean += d / s.n;
  s.m2 += d * (value - s.mean);
}
context.set("devices", all);
const count = (context.get("count") || 0) + 1;
context.set("count", count);
const said = [];
if (worst > 5) said.push({ topic: "bench/node-red/anomaly/" + device, payload: { worst } });
if (count % 1000 === 0) said.push({ topic: "${COUNT_TOPIC}", payload: String(count) });
return [said];
`;

/** Installs it into `folder`. Throws where there is no registry. */
export async function installNodeRed(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const args = ["install", "--no-audit", "--no-fund", "--omit=dev", "--prefix", folder, NODE_RED];
  await promisify(execFile)("npm", args, { timeout: INSTALL_MS });
}

export async function startNodeRed(folder: string, broker: string): Promise<Subject> {
  const { hostname, port } = new URL(broker);
  const mqtt = { id: "b", type: "mqtt-broker", broker: hostname, port, protocolVersion: "4", cleansession: true };
  const nodes = [
    { id: "t", type: "tab", label: "bench" },
    { ...mqtt, autoConnect: true, keepalive: "60" },
    {
      id: "i",
      type: "mqtt in",
      z: "t",
      topic: "flead/v1/+/+/telemetry",
      qos: "0",
      datatype: "json",
      broker: "b",
      wires: [["f"]],
    },
    { id: "f", type: "function", z: "t", func: Z_SCORE, outputs: 1, wires: [["o"]] },
    { id: "o", type: "mqtt out", z: "t", topic: "", qos: "0", retain: "false", broker: "b", wires: [] },
  ];
  await writeFile(join(folder, "flows.json"), JSON.stringify(nodes));
  const settings = { httpAdminRoot: false, httpNodeRoot: false, uiPort: 0, logging: { console: { level: "off" } } };
  await writeFile(join(folder, "settings.js"), `module.exports = ${JSON.stringify(settings)};`);
  const program = join(folder, "node_modules/node-red/red.js");
  const child = spawn(process.execPath, [program, "-u", folder, "-s", join(folder, "settings.js"), "flows.json"], {
    stdio: "ignore",
  });
  const ear: MqttClient = await connectAsync(broker, { protocolVersion: 4 });
  let count = 0;
  ear.on("message", (_, payload) => {
    count = Number(payload.toString());
  });
  await ear.subscribeAsync(COUNT_TOPIC);
  return {
    name: `Node-RED ${NODE_RED.split("@")[1]}, z-score flow`,
    pid: child.pid as number,
    count: async () => count,
    ready: async () => {
      // It counts only in thousands: what is sent until it does warms it up.
      const heard = new Promise<void>((resolve) => ear.once("message", () => resolve()));
      await within(START_MS, heard);
    },
    stop: async () => {
      await ear.endAsync();
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}
