// Two coordinators over one PostgreSQL, with gateways on both.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { type SharedPostgres, startSharedPostgres } from "../support/shared-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const folder = temporaryFolder("replicas");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const log = createLogger("test", "silent");

let postgres: SharedPostgres;
let admin: pg.Pool;
let first: Coordinator;
let second: Coordinator;
let clients: GatewayClient[] = [];
const running = new Set<Coordinator>();

async function open(dataDir = "unused"): Promise<Coordinator> {
  const coordinator = await openCoordinator(
    readCoordinatorConfig({
      DATABASE_URL: postgres.url,
      FLEAD_PLANS: join(folder, "plan.yaml"),
      FLEAD_DATA_DIR: join(folder, dataDir),
      FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
      FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
      FLEAD_LOG_LEVEL: "silent",
    }),
    log,
  );
  running.add(coordinator);
  return coordinator;
}

async function close(coordinator: Coordinator): Promise<void> {
  running.delete(coordinator);
  await coordinator.close();
}

async function connect(coordinator: Coordinator, gatewayId: string): Promise<GatewayClient> {
  const client = new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gatewayId);
  clients.push(client);
  await client.hello(COHORT, planId);
  return client;
}

/** Its champion, as this coordinator tells a gateway that says hello. */
async function championAt(coordinator: Coordinator): Promise<bigint> {
  const asker = await connect(coordinator, `asker-${clients.length}`);
  return (await asker.hears("globalModel")).globalVersion;
}

const push = (gateway: GatewayClient, baseVersion: bigint) =>
  gateway.push(anUpdate(COHORT, planId, parameters, { baseVersion }));

/** Two updates of two gateways: a round. Resolves with the champion that both heard of. */
async function round(a: GatewayClient, b: GatewayClient, baseVersion: bigint): Promise<bigint> {
  for (const gateway of [a, b]) expect((await push(gateway, baseVersion)).status).toBe(UpdateStatus.ACCEPTED);
  const heard = await Promise.all(
    [a, b].map((gateway) => gateway.hears("globalModel", ({ globalVersion }) => globalVersion > baseVersion)),
  );
  expect(heard[0]?.globalVersion).toBe(heard[1]?.globalVersion);
  return heard[0]?.globalVersion ?? 0n;
}

async function leaders(): Promise<string[]> {
  const { rows } = await admin.query(
    `SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted AND a.application_name LIKE 'flead-leader %'`,
  );
  return rows.map(({ name }) => name);
}

const breakConnections = (named: string) =>
  admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1", [named]);

beforeAll(async () => {
  postgres = await startSharedPostgres(folder);
  admin = new pg.Pool({ connectionString: postgres.url, max: 2 });
  admin.on("error", () => undefined);
  writeFileSync(
    join(folder, "plan.yaml"),
    JSON.stringify({
      cohort: COHORT,
      plan,
      federation: { round: { intervalMs: 0, updates: 2, deadlineMs: 3_600_000 } },
    }),
  );
});
afterAll(async () => {
  await admin?.end();
  await postgres?.stop();
});
beforeEach(async () => {
  first = await open();
  await eventually("the first leads", async () => ((await leaders()).length === 1 ? true : undefined));
  second = await open();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all([...running].map(close));
});

test("a coordinator that would sign plans with another key refuses to start", async () => {
  await expect(open("of-another-key")).rejects.toThrow(/plans of this database are signed with the key/);
});

test("updates on two coordinators make one round, and champion and feedback reach the gateways of both", async () => {
  const base = await championAt(first);
  const [a, b] = [await connect(first, "gw-a"), await connect(second, "gw-b")];
  const version = await round(a, b, base);
  for (const gateway of [a, b]) await gateway.hears("feedback", (feedback) => feedback.globalVersion === version);
  expect(await championAt(first)).toBe(version);
  expect(await championAt(second)).toBe(version);
  expect(await leaders()).toHaveLength(1);
});

test("a gateway that comes to another coordinator ends its session at the first, and counts as connected", async () => {
  const older = await connect(first, "mover");
  const newer = await connect(second, "mover");
  await eventually("the older session ends", () => older.ended ?? undefined);
  expect(older.ended).toMatchObject({ details: "the gateway began a newer session" });
  newer.say({ $case: "heartbeat", value: { sentAtMs: 1n } });
  await newer.hears("heartbeat");
  const answer = await (await fetch(new URL("/api/v1/gateways", first.url))).json();
  const { items } = answer as { items: { gatewayId: string; connected: boolean }[] };
  expect(items.find(({ gatewayId }) => gatewayId === "mover")?.connected).toBe(true);
});

test("when the leader leaves, the other runs the rounds, from the updates that were acknowledged before", async () => {
  const base = await championAt(first);
  const [a, b] = [await connect(first, "gw-a"), await connect(second, "gw-b")];
  await push(a, base);
  await close(first);
  await push(b, base);
  const { globalVersion } = await b.hears("globalModel", (model) => model.globalVersion > base);
  expect(globalVersion).toBe(base + 1n);
});

test("a leader whose connection breaks is followed by one leader, and versions go on without a gap", async () => {
  const base = await championAt(first);
  const [a, b] = [await connect(first, "gw-a"), await connect(second, "gw-b")];
  const before = await round(a, b, base);
  await breakConnections("flead-leader %");
  expect(await round(a, b, before)).toBe(before + 1n);
  await eventually("one leads", async () => ((await leaders()).length === 1 ? true : undefined));
});

test("coordinators that hear nothing of each other for a while catch up by themselves", async () => {
  const base = await championAt(first);
  const [a, b] = [await connect(first, "gw-a"), await connect(second, "gw-b")];
  await breakConnections("flead-notices");
  expect(await round(a, b, base)).toBe(base + 1n);
});
