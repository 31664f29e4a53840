// What a broker delivers more than once, as QoS 1 allows, and what it kept from before: a row is learned from once, or not at all.
import { connectAsync } from "mqtt";
import { describe, expect, onTestFinished, test } from "vitest";
import { seededRandom } from "../../learning/random.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startMosquitto } from "../support/mosquitto.ts";
import { BASE, openAgent, SiteClient, START_MS } from "../support/mosquitto-site.ts";
import { globalModel, planChanged, ScriptedCoordinator, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const TELEMETRY = "flead/v1/hall-1/pump-1/telemetry";
const COMMISSIONING_ROWS = 10;
const UPDATE_ROWS = 50;
const PLAN = testPlan({
  ...smallSettings(),
  channels: [{ name: "current", unit: "A" }],
  commissioningRows: COMMISSIONING_ROWS,
});
/** mosquitto's default of what may be unanswered at a time. */
const IN_FLIGHT = 20;

const random = seededRandom(5);
const row = (second: number) => ({
  timestamp: new Date(START_MS + 1_000 * second).toISOString(),
  current: 3 + 0.05 * random.normal(),
});

async function openSite() {
  const broker = await startMosquitto(mosquitto as string, temporaryFolder("said-twice"));
  onTestFinished(() => broker.stop());
  const coordinator = await ScriptedCoordinator.start();
  onTestFinished(() => coordinator.close());
  coordinator.hold(PLAN);
  coordinator.greeting = [planChanged("pumps", PLAN), globalModel("pumps", PLAN)];
  const client = await SiteClient.open(broker.url, [`${BASE}/#`]);
  const httpPort = await freePort();
  const start = async () => {
    const variables = {
      FLEAD_COORDINATOR: `127.0.0.1:${coordinator.port}`,
      FLEAD_COHORTS: "pumps=pump-*",
      FLEAD_AGENT_HTTP: `127.0.0.1:${httpPort}`,
    };
    await openAgent({ url: broker.url, folder: temporaryFolder("said-twice-data"), variables });
    await eventually("the model", () => client.events(`${BASE}/model/activated`)[0]);
  };
  /** Rows judged, and readings refused by kind. */
  const figures = async () => {
    const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
    const lines = text.matchAll(/^flead_agent_readings_refused_total\{kind="(\w+)"\} (\d+)$/gm);
    const refused: Record<string, number> = {};
    for (const [, kind = "", count] of lines) refused[kind] = Number(count);
    return {
      judged: Number(/^flead_agent_rows_judged_total (\d+)$/m.exec(text)?.[1]),
      refused,
    };
  };
  return { url: broker.url, coordinator, client, start, figures };
}

describe.skipIf(mosquitto === null)("over mosquitto", () => {
  test("rows that come twice at once, and again when a connection was lost, are learned from once", async () => {
    const { coordinator, client, start, figures } = await openSite();
    await start();
    const rows = Array.from({ length: COMMISSIONING_ROWS + 2 * UPDATE_ROWS + 10 }, (_, second) => row(second));
    for (const [index, body] of rows.entries()) {
      await client.say(TELEMETRY, body);
      await client.say(TELEMETRY, body, { dup: true });
      if ((index + 1) % IN_FLIGHT !== 0) continue;
      for (const again of rows.slice(index + 1 - IN_FLIGHT, index + 1))
        await client.say(TELEMETRY, again, { dup: true });
    }
    const losses = rows.length / IN_FLIGHT;
    const heard = rows.length * 2 + losses * IN_FLIGHT;
    const { judged, refused } = await eventually("all are read", async () => {
      const now = await figures();
      const sum = Object.values(now.refused).reduce((total, count) => total + count, now.judged);
      return sum >= heard ? now : undefined;
    });
    expect(judged).toBe(rows.length);
    expect(refused).toEqual({ duplicate_timestamp: rows.length + losses, out_of_order: losses * (IN_FLIGHT - 1) });
    await eventually("two updates", () => (coordinator.updates.length >= 2 ? true : undefined));
    expect(coordinator.updates.map(({ samples }) => Number(samples))).toEqual([UPDATE_ROWS, UPDATE_ROWS]);
  });

  test("what the broker retained is refused each time it comes, and counted as such", async () => {
    const { url, client, start, figures } = await openSite();
    await client.say(TELEMETRY, row(0), { retain: true });
    await client.say(TELEMETRY.replace("pump-1", "pump-2"), row(0), { retain: true });
    await start();
    const retained = (count: number) =>
      eventually(`${count} refused`, async () => ((await figures()).refused.retained === count ? true : undefined));
    await retained(2);
    const rival = await connectAsync(url, { clientId: "flead-hall-1-gw-1", reconnectPeriod: 0 }); // takes its place
    await rival.endAsync(true);
    await retained(4);
    await client.say(TELEMETRY, row(1));
    await eventually("a live row", async () => ((await figures()).judged > 0 ? true : undefined));
    expect(await figures()).toEqual({ judged: 1, refused: { retained: 4 } });
  });
});
