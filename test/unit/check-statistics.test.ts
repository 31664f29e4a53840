import { expect, test } from "vitest";
import { checkStatistics, type StatisticsClaim } from "../../coordinator/core/check-statistics.ts";
import { poolDevices } from "../../learning/fleet.ts";
import { cohortState } from "../support/cohort-state.ts";
import { fleetDevice, fleetPlan } from "../support/fleet-plan.ts";
import { pumpPlan } from "../support/plan-settings.ts";

const state = cohortState();
const channels = state.manifest.channels.length;
const learning = (plan: typeof fleetPlan) => ({
  ...state,
  manifest: { ...state.manifest, features: plan.features, threshold: plan.threshold },
});
const cohort = learning(fleetPlan);
const ratios = poolDevices(fleetPlan, [fleetDevice(1)], 1)?.ratios?.serialise() ?? new Uint8Array();
const claim: StatisticsClaim = {
  planId: state.planId,
  globalVersion: 1,
  devices: 1,
  scales: new Array(channels).fill(2),
  ratios,
};

test("what a gateway tells is taken as it was told, in parts too", () => {
  const told = checkStatistics(claim, cohort);
  expect(told).toMatchObject({ devices: 1, scales: new Float64Array(channels).fill(2), ratios: { count: 400 } });
  expect(checkStatistics({ ...claim, scales: [] }, cohort)).toMatchObject({ scales: null, ratios: { count: 400 } });
  expect(checkStatistics({ ...claim, ratios: new Uint8Array() }, cohort)).toMatchObject({ ratios: null });
});

test.each<[string, Partial<StatisticsClaim>, string]>([
  ["of another plan", { planId: "f".repeat(64) }, "unknown_plan"],
  ["of a version that was never champion", { globalVersion: 7 }, "unknown_base"],
  ["of no device", { devices: 0 }, "bad_devices"],
  ["of more devices than there can be", { devices: 1e9 }, "bad_devices"],
  ["with a scale too many", { scales: new Array(channels + 1).fill(2) }, "bad_scales"],
  ["with a scale of zero", { scales: new Array(channels).fill(0) }, "bad_scales"],
  ["with a negative scale", { scales: new Array(channels).fill(-1) }, "bad_scales"],
  ["with a scale that is no number", { scales: new Array(channels).fill(Number.NaN) }, "bad_scales"],
  ["with an endless scale", { scales: new Array(channels).fill(Number.POSITIVE_INFINITY) }, "bad_scales"],
  ["with a sketch of any size", { ratios: new Uint8Array(4097) }, "sketch_too_large"],
  ["with noise for a sketch", { ratios: new Uint8Array(100).fill(9) }, "undecodable_sketch"],
  ["with a sketch cut short", { ratios: ratios.slice(0, -1) }, "undecodable_sketch"],
  ["that say nothing", { scales: [], ratios: new Uint8Array() }, "nothing_told"],
])("statistics %s are refused", (_, change, reason) => {
  expect(checkStatistics({ ...claim, ...change }, cohort)).toMatchObject({ reason });
});

test("statistics that the plan does not ask for are refused", () => {
  expect(checkStatistics(claim, learning(pumpPlan))).toMatchObject({ reason: "not_asked" });
});
