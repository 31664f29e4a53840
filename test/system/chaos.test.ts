// Three coordinators and fifty gateways while coordinators are killed and PostgreSQL crashes: nothing is lost, nothing
// counts twice. FLEAD_CHAOS_SEED repeats the order of the events of a failed run.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { parse } from "yaml";
import { type SimulatedFleet, startFleet } from "../../cli/simulate/fleet.ts";
import { cohortId } from "../../learning/ids.ts";
import { seededRandom } from "../../learning/random.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { ReplicaFleet } from "../support/replica-fleet.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = cohortId("simulated");
const GATEWAYS = 50;
const CHAOS_MS = 180_000;
/** A gateway whose coordinators were all away stays away for up to 30 s. */
const SETTLE_MS = 180_000;
const seed = Number(process.env.FLEAD_CHAOS_SEED ?? Date.now() % 1_000_000);

const folder = temporaryFolder("chaos");
let replicas: ReplicaFleet;
let gateways: SimulatedFleet;

beforeAll(async () => {
  const plan = parse(readFileSync(join(packageRoot, "plans/simulated.yaml"), "utf8"));
  // Of one gateway, too: the last update of all may be alone in its round, which would wait for a second gateway.
  const round = { intervalMs: 0, updates: 20, deadlineMs: 5_000, minGateways: 1, maxStaleness: 1000 };
  writeFileSync(join(folder, "plan.yaml"), JSON.stringify({ ...plan, cohort: COHORT, federation: { round } }));
  replicas = await ReplicaFleet.open(folder, 3);
  gateways = await startFleet({
    coordinators: replicas.addresses.map((address) => {
      const [host = "", port] = address.split(":");
      return { host, port: Number(port) };
    }),
    cohort: COHORT,
    gateways: GATEWAYS,
    firstGateway: 1,
    processes: 2,
    inFlight: 4,
    reportEveryMs: 10_000,
    seed: 1,
  });
});
afterAll(async () => {
  await gateways?.close();
  await replicas?.close();
});

test("whatever is killed, each acknowledged row is learned from once, and versions have no gap and no fork", async () => {
  const random = seededRandom(seed);
  const events: string[] = [`FLEAD_CHAOS_SEED=${seed}`];
  onTestFailed(() => void process.stderr.write(`${events.join("\n")}\n`));
  const upTo = (most: number) => Math.floor(random.next() * most);

  const before = await gateways.connected(60_000);
  expect(before.ready).toBe(GATEWAYS);
  await gateways.load({ updatesPerSecond: 100 });
  const endMs = performance.now() + CHAOS_MS;
  while (performance.now() < endMs) {
    await after(2_000 + upTo(6_000));
    const dice = random.next();
    if (dice < 0.2) {
      events.push("PostgreSQL crashes");
      await replicas.postgres.crashAndRecover();
    } else {
      const victim = dice < 0.6 ? await replicas.leader() : replicas.alive[upTo(replicas.alive.length)];
      if (victim === undefined) continue;
      events.push(`${victim.name} is killed`);
      await replicas.kill(victim);
      if (random.next() < 0.5) await after(upTo(5_000)); // it stays away for a while
      await replicas.start(victim.name);
    }
  }
  const settled = await gateways.settle(SETTLE_MS);
  expect(settled.unanswered).toBe(0);
  const acknowledged = before.counts.samplesAcknowledged + settled.counts.samplesAcknowledged;
  expect(settled.counts.refused).toBe(0);
  expect(settled.counts.accepted).toBeGreaterThan(GATEWAYS);

  const sum = async (query: string): Promise<number> => (await replicas.admin.query(query, [COHORT])).rows[0].sum ?? 0;
  const aggregated = () => sum("SELECT sum(samples)::float8 AS sum FROM rounds WHERE cohort = $1");
  // What is left of a last round waits for its deadline.
  await eventually("every row is in a round", async () => {
    expect(await aggregated()).toBe(acknowledged);
    return true;
  });
  const models = await replicas.admin.query(
    "SELECT global_version, parent_version FROM federated_models WHERE cohort = $1 ORDER BY global_version",
    [COHORT],
  );
  expect(models.rows.map((model) => model.global_version)).toEqual(models.rows.map((_, index) => index + 1));
  expect(models.rows.map((model) => model.parent_version)).toEqual(models.rows.map((_, index) => index || null));
  expect(replicas.endedByThemselves).toEqual([]);
});
