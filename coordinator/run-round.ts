// The main path of the coordinator: a cohort's updates become a candidate, which is judged and recorded; the record is
// what every coordinator hears of, and tells its gateways.
import { poolGateways } from "../learning/fleet.ts";
import type { GatewayId } from "../learning/ids.ts";
import type { Scores } from "../learning/metrics.ts";
import { growsTrees } from "../learning/models/signature.ts";
import { afterRound, type CohortState, championsSince } from "./core/cohort-state.ts";
import { type NextModel, nextModel } from "./core/combine-updates.ts";
import { contributionsOf } from "./core/contributions.ts";
import { type Judgement, judge, quality, underPin } from "./core/gate.ts";
import { lossTrend, nextRate } from "./core/learning-rate.ts";
import type { Evaluator, HeldOutEvaluation } from "./ports/evaluator.ts";
import type { FederationStore, GatewayFeedback, RecordedStream } from "./ports/federation-store.ts";

export interface RoundDeps {
  readonly store: Pick<FederationStore, "roundUpdates" | "gatewayStatistics" | "recordRound">;
  readonly evaluator: Pick<Evaluator, "evaluate" | "baselines">;
}

export interface RoundOutcome extends Judgement {
  /** The cohort after the round. */
  readonly cohort: CohortState;
  readonly updates: number;
  /** The candidate's; null: not evaluated. */
  readonly heldOut: Scores | null;
}

/** Runs one round to its end. Throws with nothing changed. */
export async function runRound(deps: RoundDeps, before: CohortState, signal: AbortSignal): Promise<RoundOutcome> {
  const updates = await deps.store.roundUpdates(before);
  const { rule, optimiser, gate } = before.federation;
  const next = nextModel(before, updates);
  const version = before.lastVersion + 1;
  const fleet = poolGateways(before.manifest, await deps.store.gatewayStatistics(before));
  const candidate = { version, weights: next.weights, trained: true, fleet };

  const [evaluation, championEvaluation] = [
    await deps.evaluator.evaluate(candidate.weights, fleet, signal),
    await deps.evaluator.evaluate(before.champion.weights, before.champion.fleet, signal),
  ];
  const heldOut = evaluation?.scores ?? null;
  const championHeldOut = championEvaluation?.scores ?? null;
  const judged = judge(heldOut, before.champion.trained ? championHeldOut : null, gate.margin);
  const judgement = underPin(judged, before.pin);

  const promoted = judgement.verdict === "promoted";
  // What is grown has no learning rate.
  const frozen = evaluation?.frozen ?? null;
  const measured = { quality: quality(frozen?.scores ?? null), set: frozen?.set ?? null };
  const rate = growsTrees(before.manifest) ? before.rate : nextRate(before.rate, measured, promoted);
  const after = afterRound(before, candidate, promoted, rate, next.server);
  const feedback = feedbackFor(after, version, judgement, next, {
    before: championHeldOut,
    after: heldOut,
  });

  await deps.store.recordRound({
    before,
    after,
    candidate,
    rule: optimiser.kind === "none" ? rule.kind : `${rule.kind}+${optimiser.kind}`,
    ...judgement,
    updates,
    contributions: contributionsOf(updates, next, (base) => championsSince(before, base)),
    heldOut,
    championHeldOut,
    baselines: deps.evaluator.baselines,
    streams: measuredStreams(evaluation, championEvaluation),
    evaluatedRows: evaluation?.rows ?? [],
    feedback,
  });
  return { ...judgement, cohort: after, updates: updates.length, heldOut };
}

function measuredStreams(candidate: HeldOutEvaluation | null, champion: HeldOutEvaluation | null): RecordedStream[] {
  const its = new Map(champion?.streams.map(({ stream, scores }) => [stream, scores]));
  return (candidate?.streams ?? []).map((measured) => ({ ...measured, champion: its.get(measured.stream) ?? null }));
}

function feedbackFor(
  cohort: CohortState,
  version: number,
  judgement: Judgement,
  { gateways }: Pick<NextModel, "gateways">,
  scores: { before: Scores | null; after: Scores | null },
): GatewayFeedback[] {
  const lossBefore = scores.before?.loss ?? null;
  const lossAfter = scores.after?.loss ?? null;
  return [...gateways].map(([gatewayId, { agreement, part }]) => ({
    cohort: cohort.cohort,
    gatewayId: gatewayId as GatewayId,
    version,
    promoted: judgement.verdict === "promoted",
    factor: cohort.rate.factor,
    lossBefore,
    lossAfter,
    trend: lossTrend(lossBefore, lossAfter),
    agreement,
    reason: part === "counted" ? judgement.reason : `${judgement.reason}; this gateway's pull was ${part}`,
  }));
}
