// A plan whose gateways tell one another about scales and scores, and what such gateways would say.
import type { DeviceStatistics } from "../../learning/fleet.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { pumpPlan } from "./plan-settings.ts";

export const FLEET_QUANTILE = 0.999;

/** The pump plan with a fleet's floor under its scales and the fleet's factor in its threshold. */
export const fleetPlan: PlanSettings = {
  ...pumpPlan,
  features: {
    ...pumpPlan.features,
    reference: {
      kind: "gated_baseline",
      memoryRows: 150,
      meanRows: 8,
      gate: 5,
      scaleFromRow: 40,
      fleetFloor: 1,
      rollBackRows: 0,
      adaptation: null,
    },
  },
  threshold: { rule: { kind: "federated_conformal", quantile: FLEET_QUANTILE }, rows: 150 },
};

/** A device of the seed's own scale and unit, with exponential scores. */
export function fleetDevice(seed: number, channels = fleetPlan.channels.length, rows = 400): DeviceStatistics {
  const random = seededRandom(seed);
  const unit = 10 ** (seed % 5);
  return {
    scales: Float64Array.from({ length: channels }, (_, channel) => (channel + 1) * (0.5 + random.next())),
    scores: Float32Array.from({ length: rows }, () => -unit * Math.log(1 - random.next())),
  };
}
