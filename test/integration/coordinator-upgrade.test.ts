// A coordinator over a database in which an earlier version of FLEAD left a plan.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../coordinator/adapters/database.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { openCoordinator } from "../../coordinator/main.ts";
import { createLogger } from "../../runtime/log.ts";
import { makeEarlier } from "../support/earlier-plan.ts";
import { GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("coordinator-upgrade");
const dataDir = join(folder, "data");

const planFile = (cohort: string) => {
  const file = join(folder, `${cohort}.yaml`);
  writeFileSync(file, JSON.stringify({ cohort, plan: pumpPlan })); // JSON is YAML
  return file;
};

/** What a coordinator that is started with the plan files of these cohorts logs from "warn" on. */
async function start(...cohorts: string[]) {
  const lines: { msg: string; why?: string }[] = [];
  const config = readCoordinatorConfig({
    FLEAD_PLANS: cohorts.map(planFile).join(","),
    FLEAD_DATA_DIR: dataDir,
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    FLEAD_LOG_LEVEL: "silent",
  });
  const log = pino({ level: "warn" }, { write: (line) => lines.push(JSON.parse(line)) });
  const coordinator = await openCoordinator(config, log);
  let open = true;
  const close = async () => {
    if (open) await coordinator.close();
    open = false;
  };
  onTestFinished(close);
  return { coordinator, lines, close };
}

/** What a gateway of the cohort is told at its hello: the cohorts that are unknown. */
async function hello(address: { readonly port: number }, cohort: string): Promise<readonly string[]> {
  const gateway = new GatewayClient(`localhost:${address.port}`, `gw-${cohort}`);
  onTestFinished(() => gateway.close());
  await gateway.hello(cohort);
  return (await gateway.hears("welcome")).unknownCohorts;
}

async function makePumpsEarlier(): Promise<string> {
  const database = await openDatabase({ dataDir, log: createLogger("test", "silent") });
  try {
    return await makeEarlier(database.kysely, "pumps");
  } finally {
    await database.close();
  }
}

test("a cohort of an earlier version is left out, the others are served, and its file begins it anew", async () => {
  await (await start("pumps")).close();
  const earlier = await makePumpsEarlier();
  const why = `its plan ${earlier} is of another version of FLEAD`;
  const advice = `cohort pumps: ${why}: start with --plan and its file again`;

  const alone = await start();
  expect(alone.lines).toMatchObject([{ msg: advice, why: expect.stringContaining("formatVersion") }]);
  expect((await fetch(new URL("/api/v1/health", alone.coordinator.url))).status).toBe(200);
  await alone.close();

  const beside = await start("fans");
  expect(beside.lines.map(({ msg }) => msg)).toEqual([advice]);
  expect(await hello(beside.coordinator.grpcAddress, "pumps")).toEqual(["pumps"]);
  expect(await hello(beside.coordinator.grpcAddress, "fans")).toEqual([]);
  await beside.close();

  const again = await start("pumps");
  expect(again.lines).toEqual([]);
  expect(await hello(again.coordinator.grpcAddress, "pumps")).toEqual([]);
  const models = await (await fetch(new URL("/api/v1/models?cohort=pumps", again.coordinator.url))).json();
  expect(models).toMatchObject({ items: [{ globalVersion: 2 }, { globalVersion: 1, planId: earlier }] });
});
