import { expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type FleetStatistics, noFleet } from "../../learning/fleet.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { fleetPlan } from "../support/fleet-plan.ts";
import { openEvaluator, plantStream } from "../support/held-out.ts";

const { planId, bytes } = encodeBundle(compilePlan(fleetPlan));
const plan = decodeBundle(bytes, planId);
const running = new AbortController().signal;

test("a model is measured under the fleet statistics that go with it", async () => {
  const evaluator = await openEvaluator(plan, [plantStream(0, 600, 320)]);
  const thresholds = async (fleet: FleetStatistics) => {
    const evaluation = await evaluator.evaluate(plan.initialWeights, fleet, running);
    return [...new Set(evaluation?.rows.map(({ threshold }) => threshold))];
  };
  const factors = await Promise.all(
    [2, 6].map((thresholdFactor) => thresholds({ scales: null, thresholdFactor }).then(([first]) => Number(first))),
  );
  expect(Number(factors[1]) / Number(factors[0])).toBeCloseTo(3, 6);
  expect(await thresholds(noFleet)).not.toEqual(await thresholds({ scales: null, thresholdFactor: 2 }));
  const scales = new Float64Array(fleetPlan.channels.length).fill(1e6);
  expect(await thresholds({ scales, thresholdFactor: 2 })).not.toEqual(
    await thresholds({ scales: null, thresholdFactor: 2 }),
  );
  const once = await evaluator.evaluate(plan.initialWeights, { scales, thresholdFactor: 2 }, running);
  expect(await evaluator.evaluate(plan.initialWeights, { scales: scales.slice(), thresholdFactor: 2 }, running)).toBe(
    once,
  );
  await evaluator.close();
});
