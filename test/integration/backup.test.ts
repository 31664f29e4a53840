// What docs/backup-and-restore.md says, done: the database is backed up, destroyed and restored, and the fleet goes on.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { describe, expect, onTestFinished, test } from "vitest";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { type Update, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { readTables } from "../support/read-tables.ts";
import { hasSystemPostgres, runSystemPostgres, startSystemPostgres } from "../support/system-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

const { planId } = encodeBundle(compilePlan(pumpPlan));
const parameters = weightCount(compilePlan(pumpPlan).manifest.weights);
const folder = temporaryFolder("backup");

/** A coordinator that closes a round at two updates of two gateways. */
async function start(home: { dataDir: string; url?: string }) {
  const plan = join(folder, "pumps.yaml");
  writeFileSync(plan, JSON.stringify({ cohort: "pumps", plan: pumpPlan, federation: { round: { updates: 2 } } }));
  const coordinator = await openCoordinator(
    readCoordinatorConfig({
      FLEAD_PLANS: plan,
      FLEAD_DATA_DIR: home.dataDir,
      FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
      FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
      DATABASE_URL: home.url,
    }),
    createLogger("test", "silent"),
  );
  const clients = ["gw-1", "gw-2"].map(
    (gateway) => new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gateway),
  ) as [GatewayClient, GatewayClient];
  let open = true;
  const close = async () => {
    if (!open) return;
    open = false;
    for (const client of clients) client.close();
    await coordinator.close();
  };
  onTestFinished(close);
  for (const client of clients) await client.hello("pumps");
  return { clients, close };
}

const push = async (gateway: GatewayClient, update: Update) => (await gateway.push(update)).status;
const update = (baseVersion: bigint) => anUpdate("pumps", planId, parameters, { baseVersion });
const isVersion = (version: bigint) => (model: { globalVersion: bigint }) => model.globalVersion === version;

async function read(connection: pg.ClientConfig) {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    const tables = await readTables((text) => client.query(text));
    return { ...tables, ids: (await client.query("SELECT * FROM update_ids ORDER BY update_id")).rows };
  } finally {
    await client.end();
  }
}

/** What the queries find that the document has an operator ask of a restored database. */
async function asTheDocumentAsks(connectionString: string) {
  const document = readFileSync(join(packageRoot, "docs/backup-and-restore.md"), "utf8");
  const queries = [...document.matchAll(/-c "(SELECT .* FROM .*)"$/gm)].map(([, query]) => query as string);
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    const found: unknown[][] = [];
    for (const query of queries) found.push((await client.query(query)).rows);
    return found;
  } finally {
    await client.end();
  }
}

/** Two promotions and an update that waits for the third; what of it is sent again after the restore. */
async function history([a, b]: [GatewayClient, GatewayClient]) {
  const first = update(1n);
  for (const version of [1n, 2n]) {
    await push(a, version === 1n ? first : update(version));
    await push(b, update(version));
    await Promise.all([a, b].map((gateway) => gateway.hears("globalModel", isVersion(version + 1n))));
  }
  const waiting = update(3n);
  expect(await push(a, waiting)).toBe(UpdateStatus.ACCEPTED);
  return { first, waiting };
}

async function goesOn([a, b]: [GatewayClient, GatewayClient], sent: { first: Update; waiting: Update }) {
  const champion = await a.hears("globalModel", isVersion(3n));
  expect(champion.trained).toBe(true);
  expect(await push(a, sent.first)).toBe(UpdateStatus.KNOWN);
  expect(await push(a, sent.waiting)).toBe(UpdateStatus.KNOWN);
  expect(await push(b, update(3n))).toBe(UpdateStatus.ACCEPTED);
  await Promise.all([a, b].map((gateway) => gateway.hears("globalModel", isVersion(4n))));
}

test("embedded: the data folder of a stopped coordinator is copied, lost and put back", async () => {
  const dataDir = join(folder, "data");
  const socket = { host: join(dataDir, "postgres", "socket"), user: "flead", database: "postgres" };
  const backup = join(folder, "flead.tar");
  const lived = await start({ dataDir });
  const sent = await history(lived.clients);
  const before = await read(socket);
  await lived.close();

  execFileSync("tar", ["--create", "--file", backup, "--directory", dataDir, "postgres/cluster", "signing-key.pem"]);
  rmSync(dataDir, { recursive: true });
  mkdirSync(dataDir);
  execFileSync("tar", ["--extract", "--preserve-permissions", "--file", backup, "--directory", dataDir]);

  const server = await startEmbeddedPostgres(dataDir);
  expect(await read(server.connection)).toEqual(before);
  await server.stop();
  const restored = await start({ dataDir });
  await goesOn(restored.clients, sent);
});

describe.skipIf(!hasSystemPostgres())("PostgreSQL 15", () => {
  test("it is dumped while the coordinator works, lost, and restored to another server", async () => {
    const backup = join(folder, "flead.dump");
    const first = await startSystemPostgres(join(folder, "first"));
    onTestFinished(first.stop);
    const lived = await start({ dataDir: join(folder, "none"), url: first.url });
    const sent = await history(lived.clients);
    const before = await read({ connectionString: first.url });
    await runSystemPostgres("pg_dump", "--format=custom", `--file=${backup}`, first.url);
    await lived.close();
    await first.stop();

    const second = await startSystemPostgres(join(folder, "second"));
    onTestFinished(second.stop);
    await runSystemPostgres("pg_restore", "--exit-on-error", "--no-owner", `--dbname=${second.url}`, backup);
    expect(await read({ connectionString: second.url })).toEqual(before);
    expect(await asTheDocumentAsks(second.url)).toEqual([
      [{ cohort: "pumps", champion_version: "3" }],
      [{ cohort: "pumps", max: expect.any(Date) }],
    ]);
    const restored = await start({ dataDir: join(folder, "none"), url: second.url });
    await goesOn(restored.clients, sent);
  });
});
