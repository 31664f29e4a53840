import { expect, test } from "vitest";
import type { ProblemKind } from "../../coordinator/adapters/session/deps.ts";
import { reportedStatistics } from "../../coordinator/adapters/session/statistics.ts";
import { poolDevices } from "../../learning/fleet.ts";
import { gatewayId } from "../../learning/ids.ts";
import type { CohortStatistics } from "../../proto/gen/flead/v1/federation.ts";
import { Problems } from "../../runtime/problems.ts";
import { cohortState } from "../support/cohort-state.ts";
import { fleetDevice, fleetPlan } from "../support/fleet-plan.ts";

const known = cohortState();
const state = {
  ...known,
  manifest: { ...known.manifest, features: fleetPlan.features, threshold: fleetPlan.threshold },
};
const channels = state.manifest.channels.length;

function statisticsOf(seed: number, change: Partial<CohortStatistics> = {}): CohortStatistics {
  const told = poolDevices(state.manifest, [fleetDevice(seed, channels)], seed);
  return {
    cohort: state.cohort,
    planId: state.planId,
    globalVersion: 1n,
    devices: 1,
    scales: [...(told?.scales ?? [])],
    ratios: Buffer.from(told?.ratios?.serialise() ?? []),
    ...change,
  };
}

function setUp() {
  const refused: string[] = [];
  let nowMs = 0;
  // A minute passes between two problems, so that each of them is logged.
  const log = { warn: (_: object, message: string) => refused.push(message.split(":")[0] ?? "") };
  const problems = new Problems<ProblemKind>(log, () => (nowMs += 60_000));
  const gateway = {
    gatewayId: gatewayId("gw-1"),
    cohorts: new Map(["pumps", "gone"].map((cohort) => [cohort, state.planId])),
  };
  const cohorts = { get: (cohort: string) => (cohort === "pumps" ? state : undefined), updateStored: () => undefined };
  const read = (...messages: CohortStatistics[]) => reportedStatistics({ cohorts, problems }, gateway, messages);
  return { read, refused, problems };
}

test("each refused one is counted with its reason, and the others of the report stand", () => {
  const { read, refused, problems } = setUp();
  const told = read(
    statisticsOf(1, { cohort: "fans" }),
    statisticsOf(1, { cohort: "gone" }),
    statisticsOf(1, { planId: "" }),
    statisticsOf(1, { globalVersion: 2n ** 64n - 1n }),
    statisticsOf(2),
    statisticsOf(1, { scales: [Number.NaN] }),
    statisticsOf(1, { ratios: Buffer.alloc(50) }),
  );
  expect(told).toMatchObject([{ cohort: "pumps", planId: state.planId, globalVersion: 1, devices: 1 }]);
  expect(told[0]?.ratios?.serialise()).toEqual(new Uint8Array(statisticsOf(2).ratios));
  const unknown = ["unknown_cohort", "unknown_cohort", "unknown_plan", "unknown_base"];
  expect(refused).toEqual([...unknown, "bad_scales", "undecodable_sketch"]);
  expect(problems.total).toBe(6);
});

test("of several for one cohort the last counts, and a flood of them is cut off", () => {
  const { read } = setUp();
  expect(read(statisticsOf(1), statisticsOf(2))).toHaveLength(1);
  const flood = Array.from({ length: 1000 }, (_, i) => statisticsOf(1, { devices: i + 1 }));
  expect(read(...flood)).toMatchObject([{ devices: 64 }]);
});
