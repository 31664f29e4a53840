import { sql } from "kysely";
import { expect, test } from "vitest";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { postgresGatewayStore } from "../../coordinator/adapters/postgres-gateway-store.ts";
import { postgresQueries } from "../../coordinator/adapters/postgres-queries.ts";
import { afterRound, type CohortState } from "../../coordinator/core/cohort-state.ts";
import { contributionsOf } from "../../coordinator/core/contributions.ts";
import type { FederationStore } from "../../coordinator/ports/federation-store.ts";
import type { GatewayStore, ReportedStatistics } from "../../coordinator/ports/gateway-store.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type FleetStatistics, noFleet, poolDevices } from "../../learning/fleet.ts";
import { cohortId, type GatewayId, gatewayId, updateId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { BY_TEST, cohortState } from "../support/cohort-state.ts";
import { makeEarlier } from "../support/earlier-plan.ts";
import { fleetDevice, fleetPlan } from "../support/fleet-plan.ts";
import { onEveryHome } from "../support/homes.ts";
import { roomyIntake } from "../support/roomy-intake.ts";

const PUMPS = cohortId("pumps");
const { federation } = cohortState();

interface Stores {
  readonly store: FederationStore;
  readonly gateways: GatewayStore;
}

function definitionOf(settings: PlanSettings) {
  const compiled = compilePlan(settings);
  const { planId, bytes } = encodeBundle(compiled);
  return { planId, bundle: bytes, manifest: compiled.manifest, initialWeights: compiled.initialWeights };
}

const PLAN = definitionOf(fleetPlan);
const OTHER_PLAN = definitionOf({ ...fleetPlan, commissioningRows: 120 });

const statistics = (seed: number, change: Partial<ReportedStatistics> = {}): ReportedStatistics => {
  const told = poolDevices(fleetPlan, [fleetDevice(seed)], seed);
  if (told === null) throw new Error("the device has nothing to tell");
  return { ...told, cohort: PUMPS, planId: PLAN.planId, globalVersion: 1, ...change };
};

/** What every pair of adapters must do; `reopen` comes back with what was durable. */
function fleetStatisticsContract(open: () => Stores, reopen: () => Promise<Stores>): void {
  const cohort = async (): Promise<CohortState> => {
    const found = (await open().store.loadCohorts()).find(({ cohort }) => cohort === PUMPS);
    if (found === undefined) throw new Error("there is no such cohort");
    return found;
  };
  const tell = async (gateway: string, ...told: ReportedStatistics[]): Promise<GatewayId> => {
    const id = gatewayId(gateway);
    await open().gateways.connected({ gatewayId: id, site: "north", agentVersion: "1", cohorts: [] });
    await open().gateways.addReports([{ gatewayId: id, episodes: [], cohorts: [], statistics: told, health: null }]);
    return id;
  };
  const known = async () => open().store.gatewayStatistics(await cohort());
  const sketches = async () => (await known()).map(({ ratios }) => ratios?.serialise());

  test("a cohort begins without fleet statistics, and nobody has told any", async () => {
    await open().store.defineCohort(PUMPS, PLAN, federation, BY_TEST);
    expect((await cohort()).champion.fleet).toEqual(noFleet);
    expect(await known()).toEqual([]);
  });

  test("the latest word of each gateway comes back as it was told, after a restart too", async () => {
    await tell("gw-1", statistics(1));
    await tell("gw-1", statistics(2));
    await tell("gw-2", statistics(3, { ratios: null }));
    const { store } = await reopen();
    const told = await store.gatewayStatistics(await cohort());
    const { scales, ratios } = statistics(2);
    expect(told).toHaveLength(2);
    expect(told).toContainEqual({ devices: 1, scales: statistics(3).scales, ratios: null });
    const first = told.find((each) => each.ratios !== null);
    expect(first?.scales).toEqual(scales);
    expect(first?.ratios?.serialise()).toEqual(ratios?.serialise());
  });

  test("a report without statistics, or the same again, leaves them as they were", async () => {
    const before = await sketches();
    await tell("gw-1");
    expect(await sketches()).toEqual(before);
    await tell("gw-1", statistics(2));
    expect((await sketches()).toSorted()).toEqual(before.toSorted());
  });

  const round = async (fleet: FleetStatistics, promoted: boolean): Promise<CohortState> => {
    const { store } = open();
    const before = await cohort();
    const version = before.lastVersion + 1;
    const weights = before.champion.weights.map((weight) => weight + 1);
    const candidate = { version, weights, trained: true, fleet };
    const update = {
      updateId: updateId(`01${String(version).padStart(24, "0")}`),
      cohort: PUMPS,
      planId: before.planId,
      gatewayId: gatewayId("gw-1"),
      baseVersion: before.champion.version,
      localSteps: 1,
      samples: 50,
      loss: 1,
      encoding: "float32" as const,
      delta: encodeWeights(new Float32Array(weights.length)),
    };
    await store.addUpdate(update);
    const updates = await store.roundUpdates(before);
    await store.recordRound({
      before,
      after: afterRound(before, candidate, promoted, before.rate, before.server),
      candidate,
      rule: "fedavg",
      verdict: promoted ? "promoted" : "rejected",
      reason: "",
      updates,
      contributions: contributionsOf(updates, { shares: [1], gateways: new Map() }, () => 0),
      heldOut: null,
      championHeldOut: null,
      baselines: null,
      streams: [],
      evaluatedRows: [],
      feedback: [],
      standings: [],
    });
    await reopen();
    return cohort();
  };

  test("what the fleet knew goes with the model it was pooled for, exactly, and with a champion only", async () => {
    const fleet = { scales: Float64Array.from(PLAN.manifest.channels, (_, i) => 0.1 + i / 3), thresholdFactor: 1 / 3 };
    expect((await round(fleet, true)).champion.fleet).toEqual(fleet);
    expect((await round({ scales: null, thresholdFactor: 9 }, false)).champion.fleet).toEqual(fleet);
    expect((await round({ scales: null, thresholdFactor: 7 }, true)).champion.fleet).toEqual({
      scales: null,
      thresholdFactor: 7,
    });
  });

  test("under another plan what was told under the old one does not count", async () => {
    await open().store.defineCohort(PUMPS, OTHER_PLAN, federation, BY_TEST);
    expect((await cohort()).champion.fleet).toEqual(noFleet);
    expect(await known()).toEqual([]);
    const { lastVersion } = await cohort();
    await tell("gw-2", statistics(4, { planId: OTHER_PLAN.planId, globalVersion: lastVersion }));
    expect(await sketches()).toEqual([statistics(4).ratios?.serialise()]);
  });
}

onEveryHome((home) => {
  const stores = () => ({
    store: postgresFederationStore(home.database.kysely, roomyIntake(home.database)),
    gateways: postgresGatewayStore(home.database.kysely, { replicaId: "replica-1", version: "1", alone: true }),
  });

  fleetStatisticsContract(stores, async () => {
    await home.reopen();
    return stores();
  });

  test("people read them with models and rounds, null where they are not known", async () => {
    const queries = postgresQueries(home.database.kysely);
    const page = { limit: 10, after: null, cohort: null };
    const scales = expect.arrayContaining([0.1]);
    const models = (await queries.models(page)).items.map(({ globalVersion, fleet }) => [globalVersion, fleet]);
    expect(models.toSorted(([a], [b]) => Number(a) - Number(b))).toEqual([
      [1, { scales: null, thresholdFactor: null }],
      [2, { scales, thresholdFactor: 1 / 3 }],
      [3, { scales: null, thresholdFactor: 9 }],
      [4, { scales: null, thresholdFactor: 7 }],
      [5, { scales: null, thresholdFactor: null }],
    ]);
    const rounds = (await queries.rounds(page)).items.map(({ fleet }) => fleet.thresholdFactor);
    expect(rounds).toEqual([7, 9, 1 / 3]);
  });

  test("a sketch that an earlier version wrote in another way is left out until the gateway tells again", async () => {
    await home.database.kysely
      .updateTable("gateway_statistics")
      .set({ ratios: Buffer.from("older") })
      .execute();
    const { store } = stores();
    const [state] = await store.loadCohorts();
    if (state === undefined) throw new Error("there is no cohort");
    expect(await store.gatewayStatistics(state)).toMatchObject([{ devices: 1, ratios: null }]);
  });

  test("what a gateway told counts for a week, by the database's clock", async () => {
    const { store } = stores();
    const [state] = await store.loadCohorts();
    if (state === undefined) throw new Error("there is no cohort");
    const toldBefore = async (hours: number) => {
      const reportedAt = sql`now() - make_interval(hours => ${hours})`;
      await sql`UPDATE gateway_statistics SET reported_at = ${reportedAt}`.execute(home.database.kysely);
      return store.gatewayStatistics(state);
    };
    expect(await toldBefore(7 * 24 - 1)).toHaveLength(1);
    expect(await toldBefore(7 * 24 + 1)).toEqual([]);
  });

  test("a cohort whose plan is of another version is left out with its reason until a plan is defined again", async () => {
    const { store } = stores();
    const other = cohortId("fans");
    await store.defineCohort(other, PLAN, federation, BY_TEST);
    const earlier = await makeEarlier(home.database.kysely, PUMPS);
    const leftOut: string[][] = [];
    const states = await store.loadCohorts((...told) => leftOut.push(told));
    expect(states.map(({ cohort }) => cohort)).toEqual([other]);
    expect(leftOut).toEqual([[PUMPS, earlier, expect.stringContaining("formatVersion: must be 2")]]);

    const rows = async () =>
      home.database.kysely
        .selectFrom("federated_models")
        .select("global_version")
        .where("cohort", "=", PUMPS)
        .execute();
    const before = await rows();
    await store.defineCohort(PUMPS, PLAN, federation, BY_TEST);
    const again = (await store.loadCohorts()).find(({ cohort }) => cohort === PUMPS);
    expect(again).toMatchObject({ planId: PLAN.planId, champion: { version: before.length + 1, trained: false } });
    expect(await rows()).toEqual(expect.arrayContaining(before));
  });
});
