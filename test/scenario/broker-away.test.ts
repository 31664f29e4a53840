// The broker of the alerts goes away in every way a broker can, while readings go on to come from another one.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize } from "node:v8";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { MqttBroker } from "../../agent/adapters/mqtt.ts";
import type { OutgoingMessage } from "../../agent/core/alert.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { type Mosquitto, startMosquitto } from "../support/mosquitto.ts";
import { BASE, openAgent, Pump, SiteClient, START_MS } from "../support/mosquitto-site.ts";
import type { CloudEvent } from "../support/mqtt-site.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { StillClock } from "../support/still-clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const LOCAL = "127.0.0.1";
const EVENTS = `${BASE}/event/pump-1/z_score`;
const STATE = `${BASE}/alert/pump-1/z_score`;
const HOUR_MS = 3_600_000;

async function openBroker(port?: number): Promise<Mosquitto> {
  const at = port === undefined ? {} : { port };
  const broker = await startMosquitto(mosquitto as string, temporaryFolder("broker-away"), at);
  onTestFinished(() => broker.stop());
  return broker;
}

async function openRelay(to: Mosquitto, port = 0): Promise<Relay> {
  const relay = await startRelay({ host: LOCAL, port }, { host: LOCAL, port: to.port });
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= relay.close();
    return closing;
  };
  onTestFinished(close);
  return { ...relay, close };
}

/** An agent that reads from both brokers, and has a relay between it and the one of the alerts. */
async function openSite(clock?: StillClock) {
  const [field, plant] = [await openBroker(), await openBroker()];
  const relay = await openRelay(plant);
  const folder = temporaryFolder("broker-away-data");
  const mapping = `brokers:
  - {name: field, url: "${field.url}"}
  - {name: plant, url: "mqtt://${LOCAL}:${relay.port}", alerts: true}
subscriptions:
  - {preset: flead, broker: field}
  - {preset: flead, broker: plant}
`;
  writeFileSync(join(folder, "mapping.yaml"), mapping);
  const client = await SiteClient.open(plant.url, [`${BASE}/#`]);
  const sensors = await SiteClient.open(field.url, ["$SYS/broker/subscriptions/count"]);
  const variables = { FLEAD_MAPPING: join(folder, "mapping.yaml") };
  await openAgent({ folder, variables, ...(clock === undefined ? {} : { clock }) });
  await online(client);
  await eventually(
    "the field has another listener",
    () => sensors.heard.some(({ text }) => Number(text) > 1) || undefined,
  );
  return { plant, relay, client, sensors, file: join(folder, "agent.sqlite") };
}

const states = (client: SiteClient) => client.events(`${BASE}/status`).map(({ data }) => data.state);
const online = (client: SiteClient) =>
  eventually("the agent is online", () => (states(client).at(-1) === "online" ? true : undefined));

const kinds = (events: readonly CloudEvent[]) => events.map(({ type }) => type.split(".").at(-2));
/** Without those that came again. */
const once = (events: readonly CloudEvent[]) => [...new Map(events.map((event) => [event.id, event])).values()];

/** Events that wait for the broker, oldest first. */
function waiting(file: string): CloudEvent[] {
  const database = new Database(file, { readonly: true });
  const rows = database.prepare<[], { body: Buffer }>("SELECT body FROM outbox WHERE kind = 'alert' ORDER BY sequence");
  const messages = rows.all().map(({ body }) => deserialize(body) as OutgoingMessage);
  database.close();
  return messages.filter(({ topic }) => topic === EVENTS).map(({ payload }) => JSON.parse(payload) as CloudEvent);
}

const countWaiting = (file: string, kind: string, count: number) =>
  eventually(`${count} ${kind} wait for the broker`, () =>
    kinds(waiting(file)).filter((each) => each === kind).length >= count ? true : undefined,
  );

/** An alert is raised with the broker away. */
async function raise(file: string, pump: Pump): Promise<void> {
  await pump.run(5, 4);
  await countWaiting(file, "raised", 1);
}

/** What was raised meanwhile is told, operators are heard, and so are the broker's own sensors. */
async function expectBack(client: SiteClient): Promise<void> {
  await online(client);
  await eventually("the alert", () => (kinds(client.events(EVENTS)).includes("raised") ? true : undefined));
  await eventually("its state", () => (client.events(STATE).at(-1)?.data.state === "active" ? true : undefined));
  await client.say(`${STATE}/ack`, { action: "acknowledge" });
  await eventually("the word is heard", () => (kinds(client.events(EVENTS)).includes("acked") ? true : undefined));
  const other = new Pump(client, { id: "pump-2" });
  await other.run(60);
  await other.run(5, 4);
  const raised = () => kinds(client.events(EVENTS.replace("pump-1", "pump-2"))).includes("raised");
  await eventually("the other pump's alert", () => (raised() ? true : undefined));
}

describe.skipIf(mosquitto === null)("over mosquitto", () => {
  test("a broker that restarts with nothing has the status, the alert raised meanwhile and the subscriptions again", async () => {
    const { plant, relay, sensors, file } = await openSite();
    const pump = new Pump(sensors);
    await pump.run(60);
    await relay.close();
    await plant.stop();
    await raise(file, pump);
    const again = await openBroker(plant.port);
    const client = await SiteClient.open(again.url, [`${BASE}/#`]);
    await openRelay(again, relay.port);
    await expectBack(client);
  });

  test("a connection over which nothing comes any more is noticed and made anew; nothing that was raised is lost", async () => {
    const { relay, client, sensors, file } = await openSite();
    const pump = new Pump(sensors);
    await pump.run(60);
    relay.silence(true);
    await raise(file, pump);
    await eventually("the last will", () => (states(client).includes("offline") ? true : undefined));
    await expectBack(client);
    await eventually("nothing waits", () => (waiting(file).length === 0 ? true : undefined));
  });

  test("after an hour without the broker all its alerts arrive, in their order", async () => {
    const clock = new StillClock(START_MS);
    const { plant, relay, client, sensors, file } = await openSite(clock);
    const beforeRow = (atMs: number) => {
      clock.nowMs = atMs;
    };
    const pump = new Pump(sensors, { everyMs: 30_000, beforeRow });
    await pump.run(60);
    await relay.close();
    const fromMs = clock.nowMs;
    let faults = 0;
    for (; clock.nowMs - fromMs < HOUR_MS; faults++) {
      await pump.run(5, 4);
      await countWaiting(file, "raised", faults + 1);
      await pump.run(15);
      await countWaiting(file, "cleared", faults + 1);
    }
    const kept = waiting(file);
    expect(faults).toBe(6);
    await openRelay(plant, relay.port);
    await eventually("nothing waits", () => (waiting(file).length === 0 ? true : undefined));
    await eventually("the last one", () => client.events(EVENTS).find(({ id }) => id === kept.at(-1)?.id));
    expect(once(client.events(EVENTS))).toEqual(kept);
    expect(kinds(kept).filter((kind) => kind !== "updated")).toEqual(Array(faults).fill(["raised", "cleared"]).flat());
    expect(client.events(STATE).at(-1)?.data.state).toBe("cleared");
  });

  test.each(["nothing", "a message"])(
    "a broker that froze does not hold up an agent that leaves it with %s under way",
    async (what) => {
      const { url, freeze } = await openBroker();
      const connected = Promise.withResolvers<void>();
      const handlers = {
        onMessage: () => undefined,
        whenCalm: () => null,
        onConnect: connected.resolve,
        onProblem: () => undefined,
      };
      const address = { name: "plant", url, options: {} };
      const broker = new MqttBroker({ address, topics: [], will: null, nowMs: Date.now }, handlers);
      await connected.promise;
      freeze();
      if (what !== "nothing") void broker.publish({ topic: "alert", payload: "", retain: false });
      await broker.close();
      await eventually("the connection is gone", () => !broker.connected || undefined);
    },
  );
});
