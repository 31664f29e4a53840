// An agent with a mapping whose messages hold one channel each, and devices that go silent or offline.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { eventually } from "../support/eventually.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-mapped-rows");
const STATUS = "flead/v1/north/gw-1/status";

const cleanup: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const work of cleanup.splice(0).reverse()) await work();
});

const MAPPING = `subscriptions:
  - topic: home/{device}/{channel}
    device: "{device}"
    decode: number
    channels: [{name: "{channel}", range: [0, 100]}]
    partial: true
    expectedIntervalMs: 100
    staleAfterMs: 500
    availability: {topic: "home/{device}/status/up", online: ["1"], offline: ["0"]}
  - {topic: "flood/{device}", device: "{device}", decode: number, channels: [{name: v}]}
`;

async function openAgent(site: MqttSite, lines: string[]) {
  writeFileSync(join(folder, "mapping.yaml"), MAPPING);
  await site.listen("flead/v1/north/gw-1/#");
  const config = readAgentConfig({
    FLEAD_GATEWAY_ID: "gw-1",
    FLEAD_AGENT_HTTP: "off",
    FLEAD_SITE: "north",
    FLEAD_MQTT_URL: site.url,
    FLEAD_COORDINATOR: "127.0.0.1:1",
    FLEAD_DATA_DIR: temporaryFolder("agent-mapped-data"),
    FLEAD_MAPPING: join(folder, "mapping.yaml"),
  });
  const agent = await startAgent(config, pino({ level: "debug" }, { write: (line) => lines.push(line) }));
  cleanup.push(() => agent.close());
  await eventually("the agent is online", () => (site.events(STATUS).length > 0 ? true : undefined));
}

test("values that come one by one are a device's rows; silence, an offline word and what is refused are logged", async () => {
  const site = await MqttSite.open();
  cleanup.push(() => site.close());
  const lines: string[] = [];
  await openAgent(site, lines);
  const logged = (kind: string, where: string) =>
    eventually(`${kind} of ${where}`, () =>
      lines.find((line) => line.includes(`"kind":"${kind}"`) && line.includes(`"where":"${where}"`)),
    );
  let said = 0;
  await eventually("an alert of the device's channels", async () => {
    const far = said > 60 && said % 8 < 6;
    await site.say("home/boiler/temperature", String(far ? 90 : 20 + (said % 3)));
    await site.say("home/boiler/pressure", String(4 + (said % 2) / 10));
    said++;
    return site.events("flead/v1/north/gw-1/event/boiler/").length > 0 ? true : undefined;
  });
  await site.say("home/boiler/temperature", "101");
  await logged("out_of_range", "home/boiler/temperature");
  await logged("device_silent", "boiler");
  await site.say("home/boiler/status/up", "0", true);
  await logged("device_offline", "boiler");
});

test("a flood of devices is capped, and said", async () => {
  const site = await MqttSite.open();
  cleanup.push(() => site.close());
  const lines: string[] = [];
  await openAgent(site, lines);
  for (let device = 0; device <= 2_000; device++) site.client.publish(`flood/d${device}`, "1", { qos: 1 });
  const told = await eventually("the flood is told of", () =>
    lines.find((line) => line.includes('"kind":"device_limit"')),
  );
  expect(told).toContain("at most 2000 devices");
});
