// What an agent keeps, as tests of its store put it there.
import type { Slot } from "../../agent/ports/agent-store.ts";
import type { Update } from "../../agent/ports/coordinator-link.ts";
import type { Plan } from "../../agent/ports/plan.ts";
import { cohortId, updateId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { testPlan } from "./scripted-coordinator.ts";
import { smallSettings } from "./small-plan.ts";

export const PUMPS = cohortId("pumps");

export function planOf(settings: PlanSettings): Plan {
  const { planId, bytes } = testPlan(settings);
  return { bytes, ...decodeBundle(bytes, planId) };
}

export const PLAN = planOf(smallSettings());

export const updateOf = (number: number, weights = 10): Update => ({
  updateId: updateId(`01${String(number).padStart(24, "0")}`),
  cohort: PUMPS,
  planId: PLAN.planId,
  baseVersion: 3,
  localSteps: 8,
  samples: 50,
  loss: 0.25,
  encoding: "float32",
  delta: new Uint8Array(4 * weights).fill(number),
  roundId: 7,
});

export const slot: Slot = {
  globalVersion: 3,
  trained: true,
  fleet: { scales: Float64Array.of(0.1, 2), thresholdFactor: 2.5 },
  base: Float32Array.of(1, 2),
  local: Float32Array.of(1.5, 2.5),
  tuning: { weights: Float32Array.of(1, 2.25), rows: 60, championError: 0.5, tunedError: 0.25 },
  localSteps: 12,
  residual: Float32Array.of(0.25, -1e-9),
  trainWhenInvited: true,
  answeredRound: 6,
};
