// The main path of the coordinator: a cohort's updates become a candidate, the candidate is judged, the fleet hears of it.
import { applyDelta } from "../learning/aggregation/fedavg.ts";
import type { GatewayId } from "../learning/ids.ts";
import type { Scores } from "../learning/metrics.ts";
import { afterRound, type CohortState, championsSince, type GlobalModel } from "./core/cohort-state.ts";
import { type Combined, combineUpdates } from "./core/combine-updates.ts";
import { type Judgement, judge, quality } from "./core/gate.ts";
import { lossTrend, nextRate } from "./core/learning-rate.ts";
import type { Evaluator } from "./ports/evaluator.ts";
import type { FederationStore, GatewayFeedback } from "./ports/federation-store.ts";
import type { Fleet } from "./ports/fleet.ts";

export interface RoundDeps {
  readonly store: FederationStore;
  readonly evaluator: Evaluator;
  readonly fleet: Fleet;
}

/** Runs one round to its end and returns the cohort as it is after it. Throws with nothing changed. */
export async function runRound(deps: RoundDeps, before: CohortState, signal: AbortSignal): Promise<CohortState> {
  const updates = await deps.store.roundUpdates(before.cohort);
  const combined = combineUpdates(updates, (base) => championsSince(before, base));
  const version = before.lastVersion + 1;
  const candidate: GlobalModel = {
    version,
    weights: applyDelta(before.champion.weights, combined.delta),
    trained: true,
  };

  const [evaluation, championEvaluation] = [
    await deps.evaluator.evaluate(candidate.weights, signal),
    await deps.evaluator.evaluate(before.champion.weights, signal),
  ];
  const heldOut = evaluation?.scores ?? null;
  const championHeldOut = championEvaluation?.scores ?? null;
  const judgement = judge(heldOut, before.champion.trained ? championHeldOut : null, before.federation.gate.margin);

  const promoted = judgement.verdict === "promoted";
  const rate = nextRate(before.rate, quality(heldOut), promoted);
  const after = afterRound(before, version, promoted ? candidate : before.champion, rate);
  const feedback = feedbackFor(after, version, judgement, combined, {
    before: championHeldOut,
    after: heldOut,
  });

  await deps.store.recordRound({
    before,
    after,
    version,
    candidate: candidate.weights,
    rule: "fedavg",
    ...judgement,
    updates,
    shares: combined.shares,
    heldOut,
    championHeldOut,
    baselines: deps.evaluator.baselines,
    evaluatedRows: evaluation?.rows ?? [],
    feedback,
  });
  deps.fleet.announce(after, promoted, feedback);
  return after;
}

function feedbackFor(
  cohort: CohortState,
  version: number,
  judgement: Judgement,
  combined: Combined,
  scores: { before: Scores | null; after: Scores | null },
): GatewayFeedback[] {
  const lossBefore = scores.before?.loss ?? null;
  const lossAfter = scores.after?.loss ?? null;
  return [...combined.agreements].map(([gatewayId, agreement]) => ({
    cohort: cohort.cohort,
    gatewayId: gatewayId as GatewayId,
    version,
    promoted: judgement.verdict === "promoted",
    factor: cohort.rate.factor,
    lossBefore,
    lossAfter,
    trend: lossTrend(lossBefore, lossAfter),
    agreement,
    reason: judgement.reason,
  }));
}
