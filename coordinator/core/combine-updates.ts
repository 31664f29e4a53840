// From a round's updates to the candidate's weights: a step from the champion, or the gateways' trees in one forest.
import { coordinateMedian } from "../../learning/aggregation/coordinate-rules.ts";
import { applyDelta, cosine, EmptyRoundError } from "../../learning/aggregation/fedavg.ts";
import { combinePulls, type PullRule } from "../../learning/aggregation/rules.ts";
import { type ServerState, serverStep } from "../../learning/aggregation/server-optimisers.ts";
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";
import { type ForestShape, forestShape, packForest, unpackForest } from "../../learning/forest-weights.ts";
import { poolTrees } from "../../learning/isolation-trees.ts";
import { type CohortState, championsSince } from "./cohort-state.ts";

export interface RoundUpdate {
  readonly updateId: string;
  readonly gatewayId: string;
  readonly baseVersion: number;
  readonly samples: number;
  readonly receivedAtMs: number;
  /** What one training moved the gateway's weights by; of a forest's plan, the trees that it grew. */
  readonly delta: Float32Array;
}

export interface GatewayPart {
  /** How far the gateway pulled the way the round went: cosine with its delta; null for one that did not move, and for trees. */
  readonly agreement: number | null;
  /** The same with the coordinate median of all pulls, which no minority rules; null also for fewer than three of them. */
  readonly withOthers: number | null;
  readonly part: "counted" | "clipped" | "excluded";
}

interface Parts {
  /** Share of each update in what was combined, in the order given; they sum to 1. */
  readonly shares: readonly number[];
  readonly gateways: ReadonlyMap<string, GatewayPart>;
}

export interface NextModel extends Parts {
  readonly weights: Float32Array;
  readonly server: ServerState;
}

/** The candidate of a round. Throws EmptyRoundError for no updates, and what combinePulls, serverStep and poolTrees throw. */
export function nextModel(
  cohort: CohortState,
  updates: readonly RoundUpdate[],
  voiceOf?: (gatewayId: string) => number,
): NextModel {
  const { federation, manifest, champion, server } = cohort;
  const { rule, optimiser } = federation;
  const shape = forestShape(manifest);
  if (shape !== null) return { ...poolUpdates(shape, updates), server };
  if (rule.kind === "pool_trees") throw new RangeError(`a ${manifest.model.kind} has no trees to pool`);
  const { delta, ...parts } = combineUpdates(rule, updates, (base) => championsSince(cohort, base), voiceOf);
  const step = serverStep(optimiser, server, delta);
  return { ...parts, weights: applyDelta(champion.weights, step.delta), server: step.state };
}

/** One voice a gateway, the forest that it sent last: it holds all that the gateway knew by then. */
export function poolUpdates(
  shape: ForestShape,
  updates: readonly RoundUpdate[],
): Parts & { readonly weights: Float32Array } {
  if (updates.length === 0) throw new EmptyRoundError();
  const latest = [...new Map(updates.map((update) => [update.gatewayId, update])).values()];
  const { trees, taken } = poolTrees(
    latest.map(({ delta }) => unpackForest(delta, shape)),
    shape.trees,
  );
  const takenOf = new Map(latest.map((update, index) => [update, taken[index] ?? 0]));
  return {
    weights: packForest(trees, shape),
    shares: updates.map((update) => (takenOf.get(update) ?? 0) / shape.trees),
    gateways: new Map(
      Array.from(takenOf, ([{ gatewayId }, count]) => [
        gatewayId,
        { agreement: null, withOthers: null, part: count > 0 ? "counted" : "excluded" },
      ]),
    ),
  };
}

/**
 * A gateway pulls by the sum of its deltas, which are steps of one walk, and weighs by its samples, each update's
 * discounted by its staleness; the rule combines the pulls, one voice a gateway, as strong as `voiceOf` says. So a row is
 * learned from once, in whatever rounds a walk is counted. McMahan et al. 2017, Algorithm 1; Nguyen et al. 2022.
 */
export function combineUpdates(
  rule: PullRule,
  updates: readonly RoundUpdate[],
  staleness: (baseVersion: number) => number,
  voiceOf: (gatewayId: string) => number = () => 1,
): Parts & { readonly delta: Float32Array } {
  const weights = updates.map((update) => update.samples * stalenessWeight(staleness(update.baseVersion)));
  const pulls = [...Map.groupBy(updates.keys(), (index) => updates[index]?.gatewayId ?? "")].map(([id, members]) => ({
    id,
    pull: sumOfDeltas(members.map((index) => (updates[index] as RoundUpdate).delta)),
    weight: sum(members.map((index) => weights[index] ?? 0)),
    voice: voiceOf(id),
  }));
  const { delta, clipped, excluded } = combinePulls(rule, pulls);
  const median = pulls.length < MIN_OTHERS ? null : coordinateMedian(pulls.map(({ pull }) => pull));
  return {
    delta,
    shares: sharesOf(
      rule,
      updates.map(({ gatewayId }, index) => ({ gatewayId, weight: weights[index] ?? 0 })),
      pulls.filter((_, index) => !excluded.includes(index)),
    ),
    gateways: new Map(
      pulls.map(({ id, pull }, index) => [
        id,
        {
          agreement: cosine(pull, delta),
          withOthers: median && cosine(pull, median),
          part: excluded.includes(index) ? "excluded" : clipped.includes(index) ? "clipped" : "counted",
        },
      ]),
    ),
  };
}

/** Of two that pull apart nobody can say which is astray. */
const MIN_OTHERS = 3;

/** Gateways count by their voices, with FedAvg times their weights; a gateway's updates share that by their weights. */
function sharesOf(
  rule: PullRule,
  updates: readonly { readonly gatewayId: string; readonly weight: number }[],
  counted: readonly { readonly id: string; readonly weight: number; readonly voice: number }[],
): number[] {
  const massOf = ({ weight, voice }: { weight: number; voice: number }) =>
    rule.kind === "fedavg" ? weight * voice : voice;
  const total = sum(counted.map(massOf));
  const perWeight = new Map(counted.map((gateway) => [gateway.id, massOf(gateway) / gateway.weight / total]));
  return updates.map(({ gatewayId, weight }) => weight * (perWeight.get(gatewayId) ?? 0));
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function sumOfDeltas(deltas: readonly Float32Array[]): Float32Array {
  const [only] = deltas;
  if (only !== undefined && deltas.length === 1) return only; // of a large round a copy of each would be as much again
  const total = new Float32Array(deltas[0]?.length ?? 0);
  for (const delta of deltas) {
    for (let i = 0; i < total.length; i++) total[i] = (total[i] ?? 0) + (delta[i] ?? 0);
  }
  return total;
}
