// From a round's updates to one delta: each gateway's training adds up, then FedAvg between gateways.
import { cosine, weightedMean } from "../../learning/aggregation/fedavg.ts";
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

export interface Combined {
  readonly delta: Float32Array;
  /** Share of each update, in the order given; they sum to 1. */
  readonly shares: readonly number[];
  /** How far each gateway pulled the way the round went: cosine with `delta`; null for a gateway that did not move. */
  readonly agreements: ReadonlyMap<string, number | null>;
}

/**
 * A gateway pulls by the sum of its deltas, which are steps of one walk, and weighs by its samples, each update's
 * discounted by its staleness. So a row is learned from once, in whatever rounds a walk is counted. McMahan et al. 2017,
 * Algorithm 1; Nguyen et al. 2022.
 */
export function combineUpdates(
  updates: readonly RoundUpdate[],
  championsSince: (baseVersion: number) => number,
): Combined {
  const weights = updates.map((update) => update.samples * stalenessWeight(championsSince(update.baseVersion)));
  const total = sum(weights);
  const gateways = [...Map.groupBy(updates.keys(), (index) => updates[index]?.gatewayId ?? "")].map(
    ([id, indices]) => ({
      id,
      pull: sumOfDeltas(indices.map((index) => (updates[index] as RoundUpdate).delta)),
      weight: sum(indices.map((index) => weights[index] ?? 0)),
    }),
  );
  const delta = weightedMean(
    gateways.map(({ pull }) => pull),
    gateways.map(({ weight }) => weight),
  );
  return {
    delta,
    shares: weights.map((weight) => weight / total),
    agreements: new Map(gateways.map(({ id, pull }) => [id, cosine(pull, delta)])),
  };
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function sumOfDeltas(deltas: readonly Float32Array[]): Float32Array {
  const total = new Float32Array(deltas[0]?.length ?? 0);
  for (const delta of deltas) {
    for (let i = 0; i < total.length; i++) total[i] = (total[i] ?? 0) + (delta[i] ?? 0);
  }
  return total;
}
