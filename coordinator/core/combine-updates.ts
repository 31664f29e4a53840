// From a round's updates to one delta: each gateway's training adds up, then a rule between gateways.
import { coordinateMedian } from "../../learning/aggregation/coordinate-rules.ts";
import { cosine } from "../../learning/aggregation/fedavg.ts";
import { type CombiningRule, combinePulls } from "../../learning/aggregation/rules.ts";
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";

export interface RoundUpdate {
  readonly updateId: string;
  readonly gatewayId: string;
  readonly baseVersion: number;
  readonly samples: number;
  readonly receivedAtMs: number;
  /** What one training moved the gateway's weights by. */
  readonly delta: Float32Array;
}

export interface GatewayPart {
  /** How far the gateway pulled the way the round went: cosine with its delta; null for one that did not move. */
  readonly agreement: number | null;
  /** The same with the coordinate median of all pulls, which no minority rules; null also for fewer than three of them. */
  readonly withOthers: number | null;
  readonly part: "counted" | "clipped" | "excluded";
}

export interface Combined {
  readonly delta: Float32Array;
  /** Share of each update in what was combined, in the order given; they sum to 1. */
  readonly shares: readonly number[];
  readonly gateways: ReadonlyMap<string, GatewayPart>;
}

/**
 * A gateway pulls by the sum of its deltas, which are steps of one walk, and weighs by its samples, each update's
 * discounted by its staleness; the rule combines the pulls, one voice a gateway, as strong as `voiceOf` says. So a row is learned from once, in
 * whatever rounds a walk is counted. McMahan et al. 2017, Algorithm 1; Nguyen et al. 2022.
 */
export function combineUpdates(
  rule: CombiningRule,
  updates: readonly RoundUpdate[],
  championsSince: (baseVersion: number) => number,
  voiceOf: (gatewayId: string) => number = () => 1,
): Combined {
  const weights = updates.map((update) => update.samples * stalenessWeight(championsSince(update.baseVersion)));
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
  rule: CombiningRule,
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
  const total = new Float32Array(deltas[0]?.length ?? 0);
  for (const delta of deltas) {
    for (let i = 0; i < total.length; i++) total[i] = (total[i] ?? 0) + (delta[i] ?? 0);
  }
  return total;
}
