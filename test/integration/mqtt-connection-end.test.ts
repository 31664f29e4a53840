// What an agent says of a connection to its broker that ended: two agents with one id would else end each other's in silence.
import { connectAsync } from "mqtt";
import { expect, onTestFinished, test } from "vitest";
import { MqttBroker } from "../../agent/adapters/mqtt.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const folder = temporaryFolder("mqtt-connection-end");

/** An agent's client `flead-hall-1-gw-1`, and what it tells. */
function open(url: string) {
  const told: string[] = [];
  const connected = Promise.withResolvers<void>();
  const address = { name: "plant", url, options: { clientId: "flead-hall-1-gw-1" } };
  const broker = new MqttBroker(
    { address, topics: [], will: null, nowMs: Date.now },
    {
      onMessage: () => undefined,
      whenCalm: () => null,
      onConnect: connected.resolve,
      onProblem: (_, what) => told.push(what),
    },
  );
  onTestFinished(() => broker.close());
  return { broker, told, connected: connected.promise };
}

test.skipIf(mosquitto === null)(
  "a connection that another client's with the same id ends is told, with that id; one that the agent ends is not (needs Debian's mosquitto)",
  async () => {
    const { url, stop } = await startMosquitto(mosquitto as string, folder);
    onTestFinished(stop);
    const { broker, told, connected } = open(url);
    await connected;
    const twin = await connectAsync(url, { clientId: "flead-hall-1-gw-1", reconnectPeriod: 0 });
    onTestFinished(() => twin.endAsync(true));
    await eventually("the end is told", () => told.length > 0 || undefined);
    expect(told).toEqual([expect.stringContaining("another client has its id flead-hall-1-gw-1")]);
    await eventually("it is connected again", () => broker.connected || undefined);
    await broker.close();
    expect(told).toHaveLength(1);
  },
);

test("a connection that never was is told as what kept it from being, not as one that ended", async () => {
  const { told } = open(`mqtt://127.0.0.1:${await freePort()}`);
  await eventually("two attempts failed", () => told.length >= 2 || undefined);
  expect(told.filter((what) => what.includes("ended"))).toEqual([]);
});
