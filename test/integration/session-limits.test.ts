// What bad and greedy gateways meet: oversized messages, a storm of sessions, readers that do not read, connections that
// are half there, more than there is room for.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { SessionRequest, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { MAX_MESSAGE_BYTES } from "../../proto/limits.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("session-limits");
const compiled = compilePlan(pumpPlan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const update = () => anUpdate("pumps", planId, parameters);

const MAX_SESSIONS = 40;
const MAX_OPEN_OF_A_GATEWAY = 3;

let coordinator: Coordinator;
const clients: GatewayClient[] = [];

function newClient(gatewayId: string, port = coordinator.grpcAddress.port): GatewayClient {
  const client = new GatewayClient(`localhost:${port}`, gatewayId);
  clients.push(client);
  return client;
}

async function connect(gatewayId: string, port?: number): Promise<GatewayClient> {
  const client = newClient(gatewayId, port);
  await client.hello("pumps");
  return client;
}

async function isConnected(gatewayId: string): Promise<boolean> {
  const { items } = (await (await fetch(new URL("/api/v1/gateways?limit=100", coordinator.url))).json()) as {
    items: { gatewayId: string; connected: boolean }[];
  };
  return items.some((gateway) => gateway.gatewayId === gatewayId && gateway.connected);
}

beforeAll(async () => {
  const plan = join(folder, "pumps.yaml");
  const round = { updates: 1000, deadlineMs: 3_600_000 };
  writeFileSync(plan, JSON.stringify({ cohort: "pumps", plan: pumpPlan, federation: { round } })); // JSON is YAML
  const config = readCoordinatorConfig({
    FLEAD_PLANS: plan,
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    FLEAD_MAX_SESSIONS: `${MAX_SESSIONS}`,
    FLEAD_MAX_OPEN_UPDATES_OF_A_GATEWAY: `${MAX_OPEN_OF_A_GATEWAY}`,
  });
  coordinator = await openCoordinator(config, createLogger("test", "silent"));
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

afterAll(() => coordinator?.close());

test("a message that is too large ends its session with the limit, and others go on", async () => {
  const [greedy, other] = [await connect("greedy"), await connect("other")];
  const delta = Buffer.alloc(MAX_MESSAGE_BYTES + 1);
  greedy.say({ $case: "update", value: { ...update(), delta } });
  await eventually("the session ends", () => greedy.ended ?? undefined);
  expect(greedy.ended).toMatchObject({ details: expect.stringContaining(`${MAX_MESSAGE_BYTES}`) });
  expect((await other.push(update())).status).toBe(UpdateStatus.ACCEPTED);
});

test("many sessions of one gateway end as one, and the rest is told when to come back", async () => {
  const storm = Array.from({ length: MAX_SESSIONS - 5 }, () => newClient("storm"));
  for (const client of storm) client.hello("pumps").catch(() => undefined);
  const open = () => storm.filter(({ ended }) => ended === null);
  await eventually("all but one are over", () => open().length === 1 || undefined);
  const [last] = open();
  await last?.hears("welcome");
  const refused = storm.flatMap(({ ended }) => (ended !== null && ended !== "end" ? [ended] : []));
  const reasons = refused.map(({ details }) => details.replace(/\d+ ms/, "… ms"));
  expect(new Set(reasons)).toEqual(
    new Set(["the gateway began a newer session", "gateway storm begins sessions too often; come back in … ms"]),
  );
  const early = refused.filter(({ details }) => details.includes("too often"));
  for (const { metadata } of early) expect(Number(metadata.get("retry-after-ms")[0])).toBeGreaterThan(0);
  expect((await last?.push(update()))?.status).toBe(UpdateStatus.ACCEPTED);
});

test("one session more than there is room for is told to come back, and one fewer makes room", async () => {
  const fleet: GatewayClient[] = [];
  for (let n = 0; n < MAX_SESSIONS; n++) fleet.push(await connect(`gw-${n}`));
  const late = newClient("late");
  late.hello("pumps").catch(() => undefined);
  await eventually("the session ends", () => late.ended ?? undefined);
  expect(late.ended).toMatchObject({ details: expect.stringMatching(/^40 sessions are open; come back in \d+ ms$/) });
  fleet[0]?.close();
  await eventually("it is let in", async () => {
    const again = newClient("late");
    again.hello("pumps").catch(() => undefined);
    return eventually("an answer", () => again.heard[0] ?? again.ended ?? undefined).then((answer) =>
      answer === again.heard[0] ? answer : undefined,
    );
  });
});

test("a gateway with as many open updates as it may have is told to wait, and another is not", async () => {
  const [eager, other] = [await connect("eager"), await connect("modest")];
  for (let n = 0; n < MAX_OPEN_OF_A_GATEWAY; n++)
    expect((await eager.push(update())).status).toBe(UpdateStatus.ACCEPTED);
  const answer = await eager.push(update());
  expect(answer).toMatchObject({
    status: UpdateStatus.RETRY,
    reason: `${MAX_OPEN_OF_A_GATEWAY} updates of the gateway wait for a round`,
  });
  expect(answer.retryAfterMs).toBeGreaterThanOrEqual(5_000);
  expect((await other.push(update())).status).toBe(UpdateStatus.ACCEPTED);
});

test("updates that are sent without waiting are answered, each once", async () => {
  const hasty = await connect("hasty");
  const sent = Array.from({ length: 60 }, update);
  for (const value of sent) hasty.say({ $case: "update", value });
  const answers = await eventually("every answer", () => {
    const results = hasty.heard.flatMap((message) => (message.$case === "updateResult" ? [message.value] : []));
    return results.length === sent.length ? results : undefined;
  });
  expect(new Set(answers.map(({ updateId }) => updateId))).toEqual(new Set(sent.map(({ updateId }) => updateId)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([UpdateStatus.ACCEPTED, UpdateStatus.RETRY]));
});

test("a reader that does not read is dropped with its connection, and others are served meanwhile", async () => {
  const other = await connect("other");
  const session = connectHttp2(`http://localhost:${coordinator.grpcAddress.port}`, {
    settings: { initialWindowSize: 0 }, // the coordinator may not send a byte of a message
  });
  session.on("error", () => undefined);
  const closed = once(session, "close");
  const say = beginSession(session, "deaf");
  await eventually("it is connected", async () => (await isConnected("deaf")) || undefined);
  for (let n = 0; n < 300; n++) say({ $case: "heartbeat", value: { sentAtMs: BigInt(n) } });
  await closed;
  other.say({ $case: "heartbeat", value: { sentAtMs: 1n } });
  await other.hears("heartbeat");
});

test("a gateway that is half there, its connection open and nothing coming, is taken for gone", async () => {
  const relay: Relay = await startRelay(
    { port: 0, host: "127.0.0.1" },
    { port: coordinator.grpcAddress.port, host: "127.0.0.1" },
  );
  try {
    await connect("half", relay.port);
    expect(await isConnected("half")).toBe(true);
    relay.silence(true);
    await eventually("it is taken for gone", async () => !(await isConnected("half")) || undefined);
  } finally {
    await relay.close();
  }
});

/** A session as an HTTP/2 client begins it, without a gRPC library that would read for it. */
function beginSession(session: ClientHttp2Session, gatewayId: string) {
  const stream = session.request({
    ":method": "POST",
    ":path": "/flead.v1.FederationService/Session",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => undefined);
  const say = (message: NonNullable<SessionRequest["message"]>) => {
    const bytes = SessionRequest.encode({ message }).finish();
    const head = Buffer.alloc(5); // not compressed, and the length
    head.writeUInt32BE(bytes.byteLength, 1);
    stream.write(Buffer.concat([head, bytes]));
  };
  say({ $case: "hello", value: { gatewayId, agentVersion: "test", site: "lab", cohorts: [] } });
  return say;
}
