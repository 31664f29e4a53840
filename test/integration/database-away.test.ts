// The database away, frozen, slow, restarted and cut off in the middle of a batch, while updates come.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { type SharedPostgres, startSharedPostgres } from "../support/shared-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("database-away");
const compiled = compilePlan(pumpPlan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const SOCKET = ".s.PGSQL.5432";
const update = () => anUpdate("pumps", planId, parameters);

let postgres: SharedPostgres;
/** Between the coordinator and its database. */
let network: Relay;
let coordinator: Coordinator;
const clients: GatewayClient[] = [];
const admins: pg.Client[] = [];

async function connect(gatewayId: string): Promise<GatewayClient> {
  const client = newClient(gatewayId);
  await client.hello("pumps");
  return client;
}

function newClient(gatewayId: string): GatewayClient {
  const client = new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gatewayId);
  clients.push(client);
  return client;
}

/** A connection of the test's own; a restart of the server ends it. */
async function admin(): Promise<pg.Client> {
  const client = new pg.Client(postgres.url);
  client.on("error", () => undefined);
  admins.push(client);
  await client.connect();
  return client;
}

/** Holds up every batch until it is released, as a slow disk or a long transaction would. */
async function holdBatches(): Promise<{ waitingPid(): Promise<number>; release(): Promise<void> }> {
  const [client, observer] = [await admin(), await admin()]; // one transaction sees one state of pg_stat_activity
  await client.query("BEGIN");
  await client.query("LOCK TABLE update_ids IN ACCESS EXCLUSIVE MODE");
  return {
    waitingPid: () =>
      eventually("a batch waits", async () => {
        const { rows } = await observer.query(
          `SELECT pid FROM pg_stat_activity
           WHERE application_name = 'flead-intake' AND wait_event_type = 'Lock' LIMIT 1`,
        );
        return rows[0]?.pid;
      }),
    release: async () => {
      await client.query("ROLLBACK");
    },
  };
}

/** Sent until it is durable, as an agent would. */
async function pushUntilStored(client: GatewayClient, message: ReturnType<typeof update>): Promise<UpdateStatus> {
  return eventually("the update is stored", async () => {
    const { status } = await client.pushAgain(message);
    return status === UpdateStatus.RETRY ? undefined : status;
  });
}

async function storedTimes(updateId: string): Promise<number> {
  const client = await admin();
  const { rows } = await client.query(
    "SELECT count(*)::int AS n FROM local_models JOIN update_ids USING (update_id) WHERE update_id = $1",
    [updateId],
  );
  return rows[0].n;
}

beforeAll(async () => {
  postgres = await startSharedPostgres(folder);
  const away = join(folder, "away");
  mkdirSync(away);
  network = await startRelay({ path: join(away, SOCKET) }, { path: join(postgres.socketFolder, SOCKET) });
  const plan = join(folder, "pumps.yaml");
  const round = { updates: 1000, deadlineMs: 3_600_000 };
  writeFileSync(plan, JSON.stringify({ cohort: "pumps", plan: pumpPlan, federation: { round } })); // JSON is YAML
  const config = readCoordinatorConfig({
    FLEAD_PLANS: plan,
    FLEAD_DATA_DIR: join(folder, "unused"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    DATABASE_URL: `postgres://flead@localhost/postgres?host=${encodeURIComponent(away)}`,
  });
  coordinator = await openCoordinator(config, createLogger("test", "silent"));
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const client of admins.splice(0)) await client.end().catch(() => undefined);
});

afterAll(async () => {
  postgres.thaw();
  await network?.close(); // what still waits for an answer need not wait for the limit on silence
  await coordinator?.close();
  await postgres?.stop();
});

test("a server that freezes: updates are refused with advice, sessions stay, and it goes on when the server does", async () => {
  const [a, b] = [await connect("a"), await connect("b")];
  expect((await a.push(update())).status).toBe(UpdateStatus.ACCEPTED);
  postgres.freeze();
  const lost = update();
  const answers = await Promise.all([a.push(lost), b.push(update())]);
  for (const { status, retryAfterMs, reason } of answers) {
    expect(status).toBe(UpdateStatus.RETRY);
    expect(retryAfterMs).toBeGreaterThan(0);
    expect(reason).toMatch(/database/);
  }
  const heardAt = b.heard.length;
  b.say({ $case: "heartbeat", value: { sentAtMs: 1n } });
  await b.hears("heartbeat");
  expect(b.heard.length).toBeGreaterThan(heardAt);
  postgres.thaw();
  expect([UpdateStatus.ACCEPTED, UpdateStatus.KNOWN]).toContain(await pushUntilStored(a, lost));
  expect(await storedTimes(lost.updateId)).toBe(1);
  expect([a.ended, b.ended]).toEqual([null, null]);
});

test("a server that is stopped at once and started again: a newcomer is told to come back, and updates go on", async () => {
  const a = await connect("a");
  await postgres.crash();
  const lost = update();
  expect((await a.push(lost)).status).toBe(UpdateStatus.RETRY);
  const newcomer = newClient("newcomer");
  newcomer.hello("pumps").catch(() => undefined);
  await eventually("the newcomer is told", () => newcomer.ended ?? undefined);
  expect(newcomer.ended).toMatchObject({
    details: expect.stringMatching(/^the database does not answer; come back in/),
  });
  await postgres.start();
  expect(await pushUntilStored(a, lost)).toBe(UpdateStatus.ACCEPTED);
  expect(await storedTimes(lost.updateId)).toBe(1);
  expect(a.ended).toBeNull();
  await connect("newcomer");
});

test("a connection that is cut in the middle of a batch leaves none of it, and the same update is stored when it comes again", async () => {
  const a = await connect("a");
  const hold = await holdBatches();
  const cut = update();
  const answer = a.push(cut);
  await (await admin()).query("SELECT pg_terminate_backend($1)", [await hold.waitingPid()]);
  expect((await answer).status).toBe(UpdateStatus.RETRY);
  await hold.release();
  expect(await storedTimes(cut.updateId)).toBe(0);
  expect(await pushUntilStored(a, cut)).toBe(UpdateStatus.ACCEPTED);
});

test("a batch that takes too long is given up by both sides, and its update is stored when it comes again", async () => {
  const a = await connect("a");
  const hold = await holdBatches();
  const slow = update();
  expect(await a.push(slow)).toMatchObject({ status: UpdateStatus.RETRY, reason: expect.stringContaining("timeout") });
  await hold.release();
  expect(await storedTimes(slow.updateId)).toBe(0);
  expect(await pushUntilStored(a, slow)).toBe(UpdateStatus.ACCEPTED);
});

test("a batch whose answer is lost after its commit is not counted again: its update is known", async () => {
  const a = await connect("a");
  expect((await a.push(update())).status).toBe(UpdateStatus.ACCEPTED);
  network.silence();
  const lost = update();
  expect((await a.push(lost)).status).toBe(UpdateStatus.RETRY);
  expect(await storedTimes(lost.updateId)).toBe(1);
  expect(await pushUntilStored(a, lost)).toBe(UpdateStatus.KNOWN);
  expect(await storedTimes(lost.updateId)).toBe(1);
});
