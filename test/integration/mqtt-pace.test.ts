// A broker's messages come as fast as they are taken in, and not faster: what waits stays with the broker.
import { connectAsync } from "mqtt";
import { expect, onTestFinished, test } from "vitest";
import { MqttBroker } from "../../agent/adapters/mqtt.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temp.ts";

const mosquitto = debianProgram("mosquitto");
const folder = temporaryFolder("mqtt-pace");
const COUNT = 30;

test.skipIf(mosquitto === null).each([0, 1] as const)(
  "while the agent is busy no further message of QoS %i is taken, then all of them are, in order (needs Debian's mosquitto)",
  async (qos) => {
    const { url, stop } = await startMosquitto(mosquitto as string, folder);
    onTestFinished(stop);
    const heard: string[] = [];
    let busy = Promise.withResolvers<void>();
    let calm = false;
    const connected = Promise.withResolvers<void>();
    const broker = new MqttBroker(
      {
        address: { name: "plant", url, options: {} },
        topics: [{ filter: "row", qos }],
        will: null,
        nowMs: Date.now,
      },
      {
        onMessage: ({ payload }) => heard.push(Buffer.from(payload).toString()),
        whenCalm: () => (calm ? null : busy.promise),
        onConnect: connected.resolve,
        onProblem: (_, what) => expect.unreachable(what),
      },
    );
    onTestFinished(() => broker.close());
    await connected.promise;
    const other = await connectAsync(url);
    onTestFinished(() => other.endAsync(true));
    await other.subscribeAsync("row", { qos });
    let passed = 0;
    other.on("message", () => passed++);
    const rows = Array.from({ length: COUNT }, (_, row) => String(row));
    await eventually("it is subscribed", async () => {
      await other.publishAsync("row", "first", { qos });
      return heard.length > 0 || undefined;
    });
    const before = passed;
    for (const row of rows) await other.publishAsync("row", row, { qos });
    await eventually("all of them have come to another reader", () => passed >= before + COUNT || undefined);
    expect(heard).toEqual(["first"]);

    const first = busy;
    busy = Promise.withResolvers<void>();
    first.resolve(); // room for one
    await eventually("one more has come", () => heard.length === 2 || undefined);
    calm = true;
    busy.resolve();
    await eventually("all have come", () => heard.at(-1) === rows.at(-1) || undefined);
    expect(heard.filter((row) => row !== "first")).toEqual(rows);
  },
);
