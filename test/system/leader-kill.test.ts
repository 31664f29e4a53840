// The leader is killed in every state of a round: what was acknowledged counts once, and versions have no gap and no fork.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { ReplicaFleet } from "../support/replica-fleet.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const SAMPLES = 50;
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const folder = temporaryFolder("leader-kill");

let fleet: ReplicaFleet;
let acknowledged = 0;

beforeAll(async () => {
  // Long enough for an evaluation to be met while it runs.
  for (const pump of [0, 1]) writeCsv(join(folder, "held-out", COHORT), plantStream(pump, 6_000, 600));
  const round = { intervalMs: 0, updates: 2, deadlineMs: 3_600_000, maxStaleness: 1000 };
  writeFileSync(join(folder, "plan.yaml"), JSON.stringify({ cohort: COHORT, plan, federation: { round } }));
  fleet = await ReplicaFleet.open(folder, 2);
});
afterAll(() => fleet?.close());

async function sayHello(address: string, version: number): Promise<GatewayClient[]> {
  const gateways = ["gw-a", "gw-b"].map((id) => new GatewayClient(address, id));
  for (const gateway of gateways) await gateway.hello(COHORT, planId, version);
  return gateways;
}

/** Fills a round; resolves when all of it is acknowledged. */
async function push(gateways: readonly GatewayClient[], version: number): Promise<void> {
  for (const gateway of gateways) {
    const change = { baseVersion: BigInt(version), samples: BigInt(SAMPLES) };
    const { status } = await gateway.push(anUpdate(COHORT, planId, parameters, change));
    expect(status).toBe(UpdateStatus.ACCEPTED);
    acknowledged += SAMPLES;
  }
}

const numberOf = async (query: string): Promise<number> => (await fleet.admin.query(query, [COHORT])).rows[0].number;
const championVersion = () => numberOf("SELECT champion_version AS number FROM cohort_plans WHERE cohort = $1");
const roundsRecorded = () => numberOf("SELECT count(*)::int AS number FROM rounds WHERE cohort = $1");

/** Its updates are taken, and the connection that read the last thing an evaluation needs is idle again. */
const evaluates = (since: Date) =>
  eventually("a round is evaluated", async () => {
    const { rowCount } = await fleet.admin.query(
      `SELECT FROM pg_stat_activity WHERE application_name = 'flead-coordinator' AND state = 'idle'
         AND query LIKE '%from "gateway_statistics"%' AND query_start > $1`,
      [since],
    );
    return rowCount ? true : undefined;
  });

interface Moment {
  /** The leader comes to stand before what this locks. */
  readonly locked?: string;
  readonly evaluating?: boolean;
}

const whole = (table: string) => `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`;

test.each<[string, Moment]>([
  ["before it has read the cohort", { locked: whole("plans") }],
  ["with the updates taken", { locked: whole("gateway_statistics") }],
  ["while it evaluates", { evaluating: true }],
  ["as it begins to record", { locked: "SELECT FROM cohorts FOR UPDATE" }],
  ["with half of it recorded", { locked: whole("model_evaluations") }],
  ["with all but the feedback recorded", { locked: whole("model_feedback") }],
  ["right after it has recorded", {}],
])("a leader that is killed %s is followed by one that ends the round, once", async (_, { locked, evaluating }) => {
  const before = await championVersion();
  const recorded = await roundsRecorded();
  const leader = await fleet.leader();
  const survivor = fleet.alive.find(({ name }) => name !== leader.name);
  const gateways = await sayHello(survivor?.grpc ?? "", before);
  const since = (await fleet.admin.query("SELECT now() AS at")).rows[0].at;
  const letGo = locked === undefined ? null : await fleet.lock(locked);
  try {
    await push(gateways, before);
    if (locked !== undefined) await fleet.waitsForTheLock();
    else if (evaluating) await evaluates(since);
    else await eventually("it is recorded", async () => ((await roundsRecorded()) > recorded ? true : undefined));
    await fleet.kill(leader);
    if (locked !== undefined || evaluating)
      expect(await roundsRecorded(), "it was killed before it had recorded").toBe(recorded);
  } finally {
    await letGo?.();
  }

  for (const gateway of gateways) {
    const heard = await gateway.hears("globalModel", ({ globalVersion }) => globalVersion > before);
    expect(heard.globalVersion).toBe(BigInt(before + 1));
    await gateway.hears("feedback", ({ globalVersion }) => globalVersion === BigInt(before + 1));
    gateway.close();
  }
  expect(await roundsRecorded()).toBe(recorded + 1);
  expect((await fleet.leader()).name).toBe(survivor?.name);
  await fleet.start(leader.name);
});

test("all versions follow from one another, and every acknowledged row was learned from once", async () => {
  const { rows: models } = await fleet.admin.query(
    "SELECT global_version, parent_version, status FROM federated_models WHERE cohort = $1 ORDER BY global_version",
    [COHORT],
  );
  expect(models.map((model) => model.global_version)).toEqual(models.map((_, index) => index + 1));
  expect(models.map((model) => model.parent_version)).toEqual(models.map((_, index) => index || null));
  expect(new Set(models.map((model) => model.status))).toEqual(new Set(["champion"]));
  expect(
    await numberOf(
      "SELECT sum(samples_processed)::int AS number FROM local_models WHERE cohort = $1 AND status = 'aggregated'",
    ),
  ).toBe(acknowledged);
  expect(await numberOf("SELECT sum(samples)::int AS number FROM rounds WHERE cohort = $1")).toBe(acknowledged);
});
