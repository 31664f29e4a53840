// Evaluates a cohort's models with its own score graph on its held-out streams.
import { type FleetStatistics, sameFleet } from "../../learning/fleet.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { evaluateBaselines, evaluateModel, type HeldOutStream } from "../core/evaluate.ts";
import type { Evaluator, Evaluators, HeldOutEvaluation } from "../ports/evaluator.ts";

/** `streams` gives the same array as before where nothing changed. */
export async function openEvaluators(
  plan: PlanBundle,
  streams: () => Promise<readonly HeldOutStream[]>,
): Promise<Evaluators> {
  const model = await PlanModel.load(plan);
  let last: { readonly of: readonly HeldOutStream[]; readonly evaluator: Evaluator } | null = null;
  return {
    now: async () => {
      const of = await streams();
      if (last?.of !== of) last = { of, evaluator: evaluatorOn(plan, model, of) };
      return last.evaluator;
    },
    close: () => model.release(),
  };
}

function evaluatorOn({ manifest }: PlanBundle, model: PlanModel, streams: readonly HeldOutStream[]): Evaluator {
  const baselines = new Map(streams.map((stream) => [stream.stream, evaluateBaselines(manifest, [stream])]));
  /** The streams stay, so a champion's answer stands as long as it does; the last two used are kept. */
  let recent: { weights: Float32Array; fleet: FleetStatistics; evaluation: HeldOutEvaluation | null }[] = [];
  const measure = async (weights: Float32Array, fleet: FleetStatistics, signal: AbortSignal) => {
    const score = (x: Float32Array, rows: number) => {
      signal.throwIfAborted();
      return model.score(weights, x, rows);
    };
    const evaluation = await evaluateModel(manifest, streams, score, fleet);
    return (
      evaluation && {
        ...evaluation,
        streams: evaluation.streams.map((each) => ({ ...each, baselines: baselines.get(each.stream) ?? null })),
      }
    );
  };
  return {
    baselines: streams.length === 1 ? ([...baselines.values()][0] ?? null) : evaluateBaselines(manifest, streams),
    evaluate: async (weights, fleet, signal) => {
      const entry = recent.find((known) => known.weights === weights && sameFleet(known.fleet, fleet)) ?? {
        weights,
        fleet,
        evaluation: await measure(weights, fleet, signal),
      };
      recent = [entry, ...recent.filter((known) => known !== entry)].slice(0, 2);
      return entry.evaluation;
    },
  };
}
