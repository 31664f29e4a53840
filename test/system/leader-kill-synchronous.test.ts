// The leader is killed in every state of a synchronous round: its gateways are invited, answer once, and versions go on.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { ReplicaFleet } from "../support/replica-fleet.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const SAMPLES = 50;
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const folder = temporaryFolder("leader-kill-synchronous");

let fleet: ReplicaFleet;
let gateways: GatewayClient[] = [];
let acknowledged = 0;

const numberOf = async (query: string): Promise<number> => (await fleet.admin.query(query, [COHORT])).rows[0].number;
const championVersion = () => numberOf("SELECT champion_version AS number FROM cohort_plans WHERE cohort = $1");
const roundsRecorded = () => numberOf("SELECT count(*)::int AS number FROM rounds WHERE cohort = $1");
const connected = () =>
  numberOf(
    "SELECT count(*)::int AS number FROM gateways WHERE connected AND cohorts @> jsonb_build_array(jsonb_build_object('cohort', $1::text))",
  );

beforeAll(async () => {
  const round = { mode: "synchronous", gateways: 2, overSelection: 0, deadlineMs: 3_600_000 };
  writeFileSync(join(folder, "plan.yaml"), JSON.stringify({ cohort: COHORT, plan, federation: { round } }));
  fleet = await ReplicaFleet.open(folder, 2);
});
afterAll(() => fleet?.close());

/** Nobody is connected, and nobody is invited. */
beforeEach(async () => {
  await eventually("all have left", async () => ((await connected()) === 0 ? true : undefined));
  const client = await fleet.admin.connect();
  await client.query("BEGIN");
  await client.query("UPDATE cohorts SET revision = revision WHERE cohort = $1", [COHORT]);
  await client.query("DELETE FROM invitations");
  await client.query("COMMIT");
  client.release();
});
afterEach(() => {
  for (const gateway of gateways.splice(0)) gateway.close();
});

async function connect(address: string, version: number): Promise<void> {
  gateways = ["gw-a", "gw-b"].map((id) => new GatewayClient(address, id));
  for (const gateway of gateways) await gateway.hello(COHORT, planId, version);
}

/** Of the newest champion; whoever was invited twice answers the later word. */
async function answers(baseVersion: bigint): Promise<void> {
  for (const gateway of gateways) {
    await gateway.hears("invitation", (invitation) => invitation.baseVersion === baseVersion);
    await eventually("its answer is taken", async () => {
      const heard = gateway.heard.filter(({ $case }) => $case === "invitation").at(-1)?.value as { roundId: bigint };
      const change = { baseVersion, roundId: heard.roundId, samples: BigInt(SAMPLES) };
      const { status } = await gateway.push(anUpdate(COHORT, planId, parameters, change));
      return status === UpdateStatus.ACCEPTED || undefined;
    });
    acknowledged += SAMPLES;
  }
}

interface Moment {
  /** The leader comes to stand before what this locks … */
  readonly locked?: string;
  /** … when the gateways connect, are invited, or have answered. */
  readonly at: "hello" | "invitation" | "answers";
}

test.each<[string, Moment]>([
  ["as it finds out who is ready", { at: "hello", locked: "LOCK TABLE gateway_standings IN ACCESS EXCLUSIVE MODE" }],
  ["with half of an invitation stored", { at: "hello", locked: "LOCK TABLE gateway_standings IN SHARE MODE" }],
  ["while it waits for answers", { at: "invitation" }],
  ["as it records", { at: "answers", locked: "LOCK TABLE model_feedback IN ACCESS EXCLUSIVE MODE" }],
  ["right after it has recorded", { at: "answers" }],
])("a leader that is killed %s is followed by one that ends the round, once", async (_, { at, locked }) => {
  const before = await championVersion();
  const recorded = await roundsRecorded();
  const leader = await fleet.leader();
  const survivor = fleet.alive.find(({ name }) => name !== leader.name);
  let letGo: (() => Promise<void>) | null = null;
  const come = async (moment: Moment["at"]) => {
    if (moment === at && locked !== undefined) letGo = await fleet.lock(locked);
  };
  try {
    await come("hello");
    await connect(survivor?.grpc ?? "", before);
    if (at !== "hello") {
      await Promise.all(gateways.map((gateway) => gateway.hears("invitation")));
      await come("answers");
      if (at === "answers") await answers(BigInt(before));
    }
    if (locked !== undefined) await fleet.waitsForTheLock();
    else if (at === "answers")
      await eventually("it is recorded", async () => (await roundsRecorded()) > recorded || undefined);
    await fleet.kill(leader);
    if (locked !== undefined) expect(await roundsRecorded(), "it was killed before it had recorded").toBe(recorded);
  } finally {
    await (letGo as (() => Promise<void>) | null)?.();
  }

  if (at !== "answers") await answers(BigInt(before));
  for (const gateway of gateways) {
    const heard = await gateway.hears("globalModel", ({ globalVersion }) => globalVersion > before);
    expect(heard.globalVersion).toBe(BigInt(before + 1));
  }
  expect(await roundsRecorded()).toBe(recorded + 1);
  expect((await fleet.leader()).name).toBe(survivor?.name);
  await fleet.start(leader.name);
});

test("all versions follow from one another, and every acknowledged row was learned from once", async () => {
  const { rows: models } = await fleet.admin.query(
    "SELECT global_version, parent_version FROM federated_models WHERE cohort = $1 ORDER BY global_version",
    [COHORT],
  );
  expect(models.map((model) => model.global_version)).toEqual(models.map((_, index) => index + 1));
  expect(models.map((model) => model.parent_version)).toEqual(models.map((_, index) => index || null));
  expect(await numberOf("SELECT sum(samples)::int AS number FROM rounds WHERE cohort = $1")).toBe(acknowledged);
});
