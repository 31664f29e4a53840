import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { openDatabase } from "../../coordinator/adapters/database.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { decodeWeights } from "../../proto/weights.ts";
import { createLogger } from "../../runtime/log.ts";
import { cohortFileIn } from "../support/cohort-file.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("coordinator-start");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const cohortFile = cohortFileIn(folder);
const log = createLogger("test", "silent");
const config = readCoordinatorConfig({
  FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
  FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  FLEAD_LOG_LEVEL: "silent",
});

test("a server optimiser's momentum survives a restart of the coordinator", async () => {
  const federation = { rule: { kind: "median" }, optimiser: { kind: "avgm", momentum: 0.5, rate: 1 } };
  const file = cohortFile("momentum", { intervalMs: 0, updates: 2 }, federation);
  const settings = {
    ...config,
    FLEAD_PLANS: [file],
    FLEAD_DATA_DIR: join(folder, "momentum"),
  };
  const movedBy: number[] = [];
  for (const version of [2n, 3n]) {
    const running = await openCoordinator(settings, log);
    const both = ["a", "b"].map((id) => new GatewayClient(`localhost:${running.grpcAddress.port}`, id));
    for (const client of both) {
      await client.hello("momentum");
      await client.push(anUpdate("momentum", planId, parameters, { baseVersion: version - 1n }));
    }
    const model = await both[0]?.hears("globalModel", ({ globalVersion }) => globalVersion === version);
    movedBy.push(
      (decodeWeights(model?.weights ?? Buffer.alloc(0), parameters)[0] ?? 0) - (compiled.initialWeights[0] ?? 0),
    );
    for (const client of both) client.close();
    await running.close();
  }
  expect(movedBy).toEqual([expect.closeTo(0.001, 6), expect.closeTo(0.001 + 0.0015, 6)]);
});

test("the coordinator that leads keeps partitions ahead", async () => {
  const dataDir = join(folder, "partitions");
  const settings = { ...config, FLEAD_PLANS: [cohortFile("partitions", {})], FLEAD_DATA_DIR: dataDir };
  const running = await openCoordinator(settings, log);
  const client = new pg.Client({
    host: join(dataDir, "postgres", "socket"),
    user: "flead",
    database: "postgres",
  });
  await client.connect();
  const ahead = "SELECT FROM time_partitions('audit_log') WHERE since > now()";
  await eventually("a partition of the next month", async () => (await client.query(ahead)).rowCount || undefined);
  await client.end();
  await running.close();
});

test("a coordinator whose plan file changes starts the cohort anew with the next version, and a same one changes nothing", async () => {
  const dataDir = join(folder, "replan");
  const open = (file: string) => openCoordinator({ ...config, FLEAD_PLANS: [file], FLEAD_DATA_DIR: dataDir }, log);
  const file = cohortFile("replan", {});
  await (await open(file)).close();
  const same = await open(file);
  const versions = async (of: Coordinator) =>
    (
      (await (await fetch(new URL("/api/v1/models", of.url))).json()) as { items: { globalVersion: number }[] }
    ).items.map((m: { globalVersion: number }) => m.globalVersion);
  expect(await versions(same)).toEqual([1]);
  await same.close();
  const wider = { ...plan, model: { ...plan.model, hidden: [4] } };
  writeFileSync(file, JSON.stringify({ cohort: "replan", plan: wider }));
  const changed = await open(file);
  expect(await versions(changed)).toEqual([2, 1]);
  await changed.close();
});

test("a second coordinator on the same data folder is refused, and the first keeps its database", async () => {
  const dataDir = join(folder, "shared");
  const first = await openDatabase({ dataDir, log });
  await expect(openDatabase({ dataDir, log })).rejects.toThrow(/another coordinator uses the database of .*shared/);
  expect(await first.kysely.selectFrom("gateways").selectAll().execute()).toEqual([]);
  await first.close();
  const next = await openDatabase({ dataDir, log });
  await next.close();
});

test("a held-out folder that is not there is an error, not an evaluation that never happens", async () => {
  const wrong = { ...config, FLEAD_HELD_OUT: join(folder, "nowhere"), FLEAD_DATA_DIR: join(folder, "unused") };
  await expect(openCoordinator(wrong, log)).rejects.toThrow(/FLEAD_HELD_OUT: there is no folder .*nowhere/);
});

test.each([
  [
    "a rule that trims everybody",
    JSON.stringify({ cohort: "x", plan, federation: { rule: { kind: "trimmed_mean", share: 0.5 } } }),
    /federation\.rule\.share/,
  ],
  ["not YAML", "cohort: [", /plan .*: /],
  ["an unknown key", JSON.stringify({ cohort: "x", plan, surprise: 1 }), /surprise/],
  ["a cohort that is no name", JSON.stringify({ cohort: "../x", plan }), /cohort: must be 1 to 64 letters/],
  [
    "a quantile of 2",
    JSON.stringify({
      cohort: "x",
      plan: { ...plan, threshold: { ...plan.threshold, rule: { kind: "quantile", quantile: 2 } } },
    }),
    /plan\.threshold\.rule\.quantile/,
  ],
])("a plan file with %s is an error that names file and key", async (_, text, message) => {
  const file = join(folder, "wrong.yaml");
  writeFileSync(file, text);
  const wrong = { ...config, FLEAD_PLANS: [file], FLEAD_DATA_DIR: join(folder, "wrong") };
  await expect(openCoordinator(wrong, log)).rejects.toThrow(message);
  await expect(openCoordinator(wrong, log)).rejects.toThrow("wrong.yaml");
});

test.each(["0.0.0.0:7443", "192.168.1.4:7443", "[::]:7443", "example.org:7443"])(
  "%s is refused: without transport security only loopback is served",
  (given) => {
    expect(() => readCoordinatorConfig({ FLEAD_GRPC_ADDRESS: given })).toThrow(
      /FLEAD_GRPC_ADDRESS: must be on loopback/,
    );
    expect(() => readCoordinatorConfig({ FLEAD_HTTP_ADDRESS: given })).toThrow(
      /FLEAD_HTTP_ADDRESS: must be on loopback/,
    );
  },
);
