// A coordinator as a process, killed in between, and gateways whose every message the test decides.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { jsonOf } from "../support/json.ts";
import { ReplicaFleet } from "../support/replica-fleet.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const REPLICA = "replica-1";
const federation = { round: { intervalMs: 0, updates: 2, deadlineMs: 3_600_000, minGateways: 1, maxStaleness: 100 } };

const made = (commissioningRows: number) => {
  const plan = { ...smallSettings(), commissioningRows };
  const compiled = compilePlan(plan);
  const { planId } = encodeBundle(compiled);
  return { planId, parameters: weightCount(compiled.manifest.weights), file: { cohort: COHORT, plan, federation } };
};
const [OLD, NEW] = [made(10), made(20)];

let fleet: ReplicaFleet;
const clients: GatewayClient[] = [];

beforeAll(async () => {
  const folder = temporaryFolder("changing-plans");
  writeFileSync(join(folder, "plan.yaml"), stringify(OLD.file));
  fleet = await ReplicaFleet.open(folder, 1);
}, 240_000);
afterAll(async () => {
  for (const client of clients) client.close();
  await fleet?.close();
});

function replica() {
  const [alive] = fleet.alive;
  if (alive === undefined) throw new Error("no coordinator is alive");
  return alive;
}

async function connect(gateway: string, planId: string): Promise<GatewayClient> {
  const client = new GatewayClient(replica().grpc, gateway);
  clients.push(client);
  await client.hello(COHORT, planId, 1);
  return client;
}

async function post(path: string, body: string, type: string) {
  const response = await fetch(new URL(`/api/v1/${path}`, replica().url), {
    method: "POST",
    headers: { "content-type": type },
    body,
  });
  return { status: response.status, body: await jsonOf(response) };
}

async function round(gateway: GatewayClient, { planId, parameters }: typeof OLD, base: number): Promise<void> {
  for (const part of [1, 2]) {
    const change = { baseVersion: BigInt(base), samples: BigInt(part) };
    expect(await gateway.push(anUpdate(COHORT, planId, parameters, change))).toMatchObject({
      status: UpdateStatus.ACCEPTED,
    });
  }
}

const champion = (gateway: GatewayClient, { planId }: typeof OLD, version: number) =>
  gateway.hears("globalModel", (model) => model.planId === planId && model.globalVersion === BigInt(version));

const plansHeld = async () =>
  (
    await fleet.admin.query(
      "SELECT plan_id, state, champion_version AS version FROM cohort_plans WHERE cohort = $1 ORDER BY state",
      [COHORT],
    )
  ).rows;

test("both plans live until the last gateway has moved, through a kill of the coordinator", async () => {
  const [stays, moves] = [await connect("gw-stays", OLD.planId), await connect("gw-moves", OLD.planId)];
  await round(stays, OLD, 1);
  await champion(moves, OLD, 2);

  const uploaded = await post("plans", stringify(NEW.file), "application/yaml");
  expect(uploaded).toMatchObject({ status: 201, body: { planId: NEW.planId, cohort: COHORT } });
  const order = { planId: NEW.planId, federation: uploaded.body.federation, reason: "more rows" };
  const tried = await post(`plans/${NEW.planId}/dry-run`, JSON.stringify({ cohort: COHORT }), "application/json");
  expect(tried).toMatchObject({ status: 200, body: { passed: true, set: null, begin: { scores: null } } });
  const activated = await post(`cohorts/${COHORT}/activate`, JSON.stringify(order), "application/json");
  expect(activated).toEqual({
    status: 200,
    body: { cohort: COHORT, planId: NEW.planId, championVersion: 3, leaving: OLD.planId },
  });
  const response = await fetch(new URL("/api/v1/health", replica().url));
  expect(await response.json()).toMatchObject({
    cohorts: [
      {
        planId: NEW.planId,
        championVersion: 3,
        leaving: { planId: OLD.planId, championVersion: 2, gateways: 2, leaveBy: expect.stringMatching(/Z$/) },
      },
    ],
  });
  for (const gateway of [stays, moves]) {
    await gateway.hears("planChanged", ({ planId }) => planId === NEW.planId);
    await champion(gateway, NEW, 3);
  }

  const cohorts = [
    { cohort: COHORT, planId: NEW.planId, globalVersion: 3n, devices: [], candidate: undefined, previousVersion: 0n },
  ];
  const moved = {
    reportId: "01JD0000000000000000000001",
    clock: "synced",
    episodes: [],
    health: undefined,
    cohorts,
    statistics: [],
    summaries: [],
  };
  moves.say({ $case: "report", value: moved });
  await moves.hears("reportResult");
  await round(moves, NEW, 3);
  await champion(moves, NEW, 4);
  await round(stays, OLD, 2);
  await champion(stays, OLD, 5);
  expect(moves.heard.some((said) => said.$case === "globalModel" && said.value.globalVersion === 5n)).toBe(false);

  await fleet.kill(replica());
  await fleet.start(REPLICA);
  expect(await plansHeld()).toEqual([
    { plan_id: NEW.planId, state: "active", version: 4 },
    { plan_id: OLD.planId, state: "leaving", version: 5 },
  ]);
  const again = await connect("gw-stays", OLD.planId);
  await champion(again, OLD, 5);
  await again.hears("planChanged", ({ planId }) => planId === NEW.planId);
  await round(again, OLD, 5);
  await champion(again, OLD, 6);
  await round(await connect("gw-moves", NEW.planId), NEW, 4);

  again.say({ $case: "report", value: { ...moved, reportId: "01JD0000000000000000000002" } });
  await eventually("the old plan is left", async () =>
    (await plansHeld()).some(({ state }) => state === "left") ? true : undefined,
  );
  const late = await eventually("the coordinator knows", async () => {
    const answer = await again.push(anUpdate(COHORT, OLD.planId, OLD.parameters, { baseVersion: 6n }));
    return answer.status === UpdateStatus.REFUSED ? answer : undefined;
  });
  expect(late.reason).toContain(`plan_left: the cohort has left plan ${OLD.planId}`);
}, 240_000);

test("what is no plan is refused with its key, an unknown plan is not found, and a page of another origin changes nothing", async () => {
  const bad = { ...NEW.file, plan: { ...NEW.file.plan, commissioningRows: -1 } };
  expect(await post("plans", stringify(bad), "application/yaml")).toMatchObject({
    status: 422,
    body: { detail: expect.stringContaining("commissioningRows") },
  });
  expect((await post("plans", stringify(NEW.file), "text/plain")).status).toBe(415);
  const activate = (body: object) => post(`cohorts/${COHORT}/activate`, JSON.stringify(body), "application/json");
  expect((await activate({ planId: "0".repeat(64), reason: "why not" })).status).toBe(404);
  const pooled = { rule: { kind: "pool_trees" } };
  expect(await activate({ planId: OLD.planId, reason: "back" })).toMatchObject({
    status: 409,
    body: { detail: expect.stringContaining("flead plan dry-run") },
  });
  expect(await activate({ planId: NEW.planId, federation: pooled, reason: "wrong" })).toMatchObject({
    status: 422,
    body: { detail: expect.stringContaining("federation.rule.kind") },
  });
  const foreign = await fetch(new URL("/api/v1/plans", replica().url), {
    method: "POST",
    headers: { "content-type": "application/yaml", origin: "http://elsewhere.example" },
    body: stringify(NEW.file),
  });
  expect(foreign.status).toBe(403);
});

test("plans are listed with the cohorts that learn by them", async () => {
  const response = await fetch(new URL("/api/v1/plans", replica().url));
  const { items } = (await response.json()) as { items: { planId: string; cohorts: object[] }[] };
  expect(items.map(({ planId }) => planId)).toEqual([NEW.planId, OLD.planId]);
  expect(items[0]?.cohorts).toMatchObject([{ cohort: COHORT, state: "active" }]);
  expect((await fetch(new URL(`/api/v1/plans/${OLD.planId}`, replica().url))).status).toBe(200);
  expect((await fetch(new URL(`/api/v1/plans/${"0".repeat(64)}`, replica().url))).status).toBe(404);
});
