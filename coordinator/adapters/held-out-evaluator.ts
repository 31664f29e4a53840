// Evaluates a cohort's models with its own score graph on its frozen held-out streams.

import { type FleetStatistics, sameFleet } from "../../learning/fleet.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { type Evaluation, evaluateBaselines, evaluateModel, type HeldOutStream } from "../core/evaluate.ts";
import type { Evaluator } from "../ports/evaluator.ts";

export async function openEvaluator(plan: PlanBundle, streams: readonly HeldOutStream[]): Promise<Evaluator> {
  const model = await PlanModel.load(plan);
  /** The streams are frozen, so a champion's answer stands as long as it does; the last two used are kept. */
  let recent: { weights: Float32Array; fleet: FleetStatistics; evaluation: Evaluation | null }[] = [];
  return {
    baselines: evaluateBaselines(plan.manifest, streams),
    evaluate: async (weights, fleet, signal) => {
      const score = (x: Float32Array, rows: number) => {
        signal.throwIfAborted();
        return model.score(weights, x, rows);
      };
      const entry = recent.find((known) => known.weights === weights && sameFleet(known.fleet, fleet)) ?? {
        weights,
        fleet,
        evaluation: await evaluateModel(plan.manifest, streams, score, fleet),
      };
      recent = [entry, ...recent.filter((known) => known !== entry)].slice(0, 2);
      return entry.evaluation;
    },
    close: () => model.release(),
  };
}
