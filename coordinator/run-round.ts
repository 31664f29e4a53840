// The main path of the coordinator: a cohort's updates under one plan become a candidate, which is judged and recorded; the record is
// what every coordinator hears of, and tells its gateways.
import { poolGateways } from "../learning/fleet.ts";
import type { GatewayId } from "../learning/ids.ts";
import type { Scores } from "../learning/metrics.ts";
import { growsTrees } from "../learning/models/signature.ts";
import { afterRound, type CohortState, championsSince } from "./core/cohort-state.ts";
import { type NextModel, nextModel } from "./core/combine-updates.ts";
import { contributionsOf } from "./core/contributions.ts";
import { type Judgement, judge, quality, underPin } from "./core/gate.ts";
import { FULL_STANDING, type GatewayStanding, nextStanding } from "./core/gateway-standing.ts";
import { lossTrend, nextRate } from "./core/learning-rate.ts";
import type { Evaluator, HeldOutEvaluation } from "./ports/evaluator.ts";
import type { FederationStore, GatewayFeedback, RecordedStream, StandingChange } from "./ports/federation-store.ts";
import type { GatewayStandings } from "./ports/gateway-standings.ts";

export interface RoundDeps {
  readonly store: Pick<FederationStore, "roundUpdates" | "gatewayStatistics" | "recordRound">;
  readonly standings: Pick<GatewayStandings, "of">;
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
  const standings = await deps.standings.of(
    before.cohort,
    updates.map(({ gatewayId }) => gatewayId),
  );
  const next = nextModel(before, updates, (gateway) => standings.get(gateway)?.value ?? 1);
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
  // What is grown has no learning rate. Live streams are others in every round: what they show is compared within a round
  // and never over time.
  const measured = { quality: quality(evaluation?.frozen ?? null), set: evaluation?.set ?? null };
  const rate = growsTrees(before.manifest) ? before.rate : nextRate(before.rate, measured, promoted);
  const after = afterRound(before, candidate, promoted, rate, next.server);
  const changes = standingChanges(next, standings, judged.verdict === "promoted"); // a pin is nobody's fault
  const losses = { before: championHeldOut?.loss ?? null, after: heldOut?.loss ?? null };
  const feedback = feedbackFor(after, judgement, next, changes, losses);

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
    standings: [...changes.values()],
  });
  return { ...judgement, cohort: after, updates: updates.length, heldOut };
}

function measuredStreams(candidate: HeldOutEvaluation | null, champion: HeldOutEvaluation | null): RecordedStream[] {
  const its = new Map(champion?.streams.map(({ stream, scores }) => [stream, scores]));
  return (candidate?.streams ?? []).map((measured) => ({ ...measured, champion: its.get(measured.stream) ?? null }));
}

type Parts = Pick<NextModel, "gateways">;

/** Of the gateways whose standing moved. */
function standingChanges(
  { gateways }: Parts,
  standings: ReadonlyMap<string, GatewayStanding>,
  passed: boolean,
): Map<string, StandingChange> {
  const changes = [...gateways].map(([gateway, part]): [string, StandingChange] => {
    const before = standings.get(gateway) ?? FULL_STANDING;
    return [gateway, { gatewayId: gateway as GatewayId, before, after: nextStanding(before, part, passed) }];
  });
  return new Map(
    changes.filter(([, { before, after }]) => after.value !== before.value || after.roundsApart !== before.roundsApart),
  );
}

function feedbackFor(
  { cohort, planId, lastVersion, rate }: CohortState,
  { verdict, reason }: Judgement,
  { gateways }: Parts,
  changes: ReadonlyMap<string, StandingChange>,
  losses: { readonly before: number | null; readonly after: number | null },
): GatewayFeedback[] {
  return [...gateways].map(([gateway, { agreement, part }]) => {
    const itsPart = part === "counted" ? null : `this gateway's pull was ${part}`;
    return {
      cohort,
      planId,
      gatewayId: gateway as GatewayId,
      version: lastVersion,
      promoted: verdict === "promoted",
      factor: rate.factor,
      lossBefore: losses.before,
      lossAfter: losses.after,
      trend: lossTrend(losses.before, losses.after),
      agreement,
      reason: [reason, itsPart, standingWord(changes.get(gateway))].filter((word) => word !== null).join("; "),
    };
  });
}

/** Null: nothing to say of it. */
function standingWord(change: StandingChange | undefined): string | null {
  if (change === undefined || change.before.value === change.after.value) return null;
  const { before, after } = change;
  const word = `its voice counts ${after.value.toFixed(2)} from now on, after ${before.value.toFixed(2)}`;
  return after.value < before.value ? `${word}: ${after.reason}` : word;
}
