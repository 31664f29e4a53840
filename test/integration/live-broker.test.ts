// The broker of live streams where one has to log in, and one that can't be spoken to.
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { Aedes } from "aedes";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MqttLiveBroker, readBrokerAccess } from "../../coordinator/adapters/live-broker.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("live-broker");
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

let aedes: Aedes;
let server: Server;
let url: string;
let broker: MqttLiveBroker | null = null;
let heard: string[] = [];
let problems: string[] = [];

beforeEach(async () => {
  [heard, problems] = [[], []];
  aedes = await Aedes.createBroker({
    authenticate: (_client, name, password, done) => done(null, name === "reader" && password?.toString() === "s3cret"),
  });
  server = createServer(aedes.handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`;
});
afterEach(async () => {
  await broker?.close();
  broker = null;
  await new Promise<void>((resolve) => aedes.close(() => resolve()));
  await new Promise<void>((resolve) => server.close(() => resolve()));
});

async function open(password: string): Promise<MqttLiveBroker> {
  const files = { user: file("user", "reader\n"), password: file("password", password), ca: undefined };
  const access = await readBrokerAccess({ url, ...files });
  broker = new MqttLiveBroker(
    { ...access, clientId: "test", nowMs: () => 7 },
    {
      onMessage: ({ topic, payload, receivedAtMs }) => heard.push(`${topic} ${Buffer.from(payload)} ${receivedAtMs}`),
      onProblem: (what) => problems.push(what),
    },
  );
  return broker;
}

const subscribed = (topic: string) =>
  new Promise<void>((resolve) =>
    aedes.on("subscribe", (all) => {
      if (all.some((each) => each.topic === topic)) resolve();
    }),
  );

const publish = (topic: string, payload: string) =>
  new Promise<void>((resolve, reject) =>
    aedes.publish({ cmd: "publish", topic, payload, qos: 1, dup: false, retain: false }, (error) =>
      error ? reject(error) : resolve(),
    ),
  );

test("name and password of the files log in, and topics that are followed later are heard, those of before no more", async () => {
  const first = subscribed("a");
  const second = subscribed("b");
  const opened = await open("s3cret\n");
  opened.follow(new Set(["a"]));
  await first;
  await publish("a", "one");
  await eventually("the first message", () => (heard.length === 1 ? true : undefined));
  const left = new Promise<void>((resolve) => aedes.once("unsubscribe", () => resolve()));
  opened.follow(new Set(["b"]));
  await Promise.all([second, left]);
  await publish("a", "two");
  await publish("b", "three");
  await eventually("the other topic", () => (heard.length > 1 ? true : undefined));
  expect(heard).toEqual(["a one 7", "b three 7"]);
  expect(problems).toEqual([]);
});

test("a broker that freezes does not hold up a coordinator that leaves it", async () => {
  const subscribes = Promise.withResolvers<void>();
  const frozen = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write(Uint8Array.of(0x20, 2, 0, 0)); // CONNACK: accepted
      socket.once("data", () => {
        socket.pause();
        subscribes.resolve();
      });
    });
  });
  await new Promise<void>((resolve) => frozen.listen(0, "127.0.0.1", resolve));
  url = `mqtt://127.0.0.1:${(frozen.address() as { port: number }).port}`;
  const opened = await open("s3cret");
  opened.follow(new Set(["a"]));
  await subscribes.promise;
  await opened.close();
  frozen.close();
});

test("a broker that refuses the password is told of", async () => {
  (await open("wrong")).follow(new Set(["a"]));
  await eventually("a problem", () => problems[0]);
  expect(problems[0]).toMatch(/refused/i);
});

test("a file that is not there is named", async () => {
  const missing = join(folder, "none");
  await expect(readBrokerAccess({ url, user: undefined, password: missing, ca: undefined })).rejects.toThrow(missing);
});
