// A gateway that keeps doing harm, from its updates to what it, people and the next rounds are told.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { decodeWeights, encodeWeights } from "../../proto/weights.ts";
import { createLogger } from "../../runtime/log.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
/** How far each pulls every weight, in thousandths. */
const PULLS = { "gw-1": 1, "gw-2": 1, "gw-3": 1, "gw-4": -1 } as const;
const LIAR = "gw-4";

let coordinator: Coordinator;
let clients: ReadonlyMap<string, GatewayClient>;

beforeAll(async () => {
  const folder = temporaryFolder("gateway-standing");
  const file = join(folder, "pumps.yaml");
  const federation = { round: { updates: 4, minGateways: 4 }, rule: { kind: "fedavg" } };
  writeFileSync(file, JSON.stringify({ cohort: COHORT, plan, federation })); // JSON is YAML
  const config = readCoordinatorConfig({
    FLEAD_PLANS: file,
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, createLogger("test", "silent"));
  const address = `localhost:${coordinator.grpcAddress.port}`;
  clients = new Map(Object.keys(PULLS).map((id) => [id, new GatewayClient(address, id)]));
  for (const client of clients.values()) await client.hello(COHORT, planId, 1);
});
afterAll(async () => {
  for (const client of clients?.values() ?? []) client.close();
  await coordinator?.close();
});

let weights: Float32Array = compiled.initialWeights;
let version = 1;

/** Every gateway's update and the round that they make; how far it moved the champion, in thousandths. */
async function round(liarPulls = -1): Promise<number> {
  for (const [id, pull] of Object.entries(PULLS)) {
    const thousandths = id === LIAR ? liarPulls : pull;
    const delta = Buffer.from(encodeWeights(new Float32Array(parameters).fill(thousandths / 1000)));
    await clients.get(id)?.push(anUpdate(COHORT, planId, parameters, { delta, baseVersion: BigInt(version) }));
  }
  version++;
  const isNext = ({ globalVersion }: { globalVersion: bigint }) => globalVersion === BigInt(version);
  const model = await clients.get(LIAR)?.hears("globalModel", isNext);
  const moved = decodeWeights(model?.weights ?? Buffer.alloc(0), parameters);
  const by = 1000 * ((moved[0] as number) - (weights[0] as number));
  weights = moved;
  return by;
}

async function reasonTold(): Promise<string> {
  const told = await clients.get(LIAR)?.hears("feedback", ({ globalVersion }) => globalVersion === BigInt(version));
  return told?.reason ?? "";
}

async function standings(): Promise<Record<string, { standing: number; standingReason: string | null }>> {
  const body = (await (await fetch(new URL("/api/v1/gateways", coordinator.url))).json()) as {
    items: { gatewayId: string; cohorts: [{ standing: number; standingReason: string | null }] }[];
  };
  return Object.fromEntries(
    body.items.map(({ gatewayId, cohorts: [{ standing, standingReason }] }) => [
      gatewayId,
      { standing, standingReason },
    ]),
  );
}

const WHOLE = { standing: 1, standingReason: null };

test("it is told why its voice falls, people see it, the next round hears it less, and only it", async () => {
  expect(await round()).toBeCloseTo((3 - 1) / 4, 3);
  expect(await reasonTold()).toMatch(
    /; its voice counts 0\.80 from now on, after 1\.00: it pulled against the others \(cosine -1\.00\)$/,
  );
  expect(await round()).toBeCloseTo((3 - 0.8) / 3.8, 3);
  expect(await round()).toBeCloseTo((3 - 0.64) / 3.64, 3);
  const { [LIAR]: liar, ...others } = await standings();
  expect(liar?.standing).toBeCloseTo(0.512, 9);
  expect(liar?.standingReason).toBe("it pulled against the others (cosine -1.00)");
  expect(others).toEqual({ "gw-1": WHOLE, "gw-2": WHOLE, "gw-3": WHOLE });
});

test("it comes back when its pulls do, and is told so", async () => {
  await round(1);
  expect(await reasonTold()).toMatch(/; its voice counts 0\.64 from now on, after 0\.51$/);
  expect((await standings())[LIAR]?.standing).toBeCloseTo(0.64, 9);
});

test("an operator's reset counts from the next round on", async () => {
  const reset = new URL(`/api/v1/gateways/${LIAR}/standing/reset`, coordinator.url);
  const headers = { "content-type": "application/json" };
  const response = await fetch(reset, { method: "POST", headers, body: JSON.stringify({ cohort: COHORT }) });
  expect(response.status).toBe(200);
  expect((await standings())[LIAR]).toEqual(WHOLE);
  expect(await round()).toBeCloseTo((3 - 1) / 4, 3);
});
