// From a round's updates to one delta: FedAvg by samples, discounted by staleness.
import { cosine, weightedMean } from "../../learning/aggregation/fedavg.ts";
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";

export interface RoundUpdate {
  readonly updateId: string;
  readonly gatewayId: string;
  readonly baseVersion: number;
  readonly samples: number;
  readonly loss: number | null;
  readonly receivedAtMs: number;
  readonly delta: Float32Array;
}

export interface Combined {
  readonly delta: Float32Array;
  /** Share of each update, in the order given; they sum to 1. */
  readonly shares: readonly number[];
}

/**
 * Each delta is cumulative against its base, so a gateway's later update of a round holds its earlier ones; its samples
 * are only the rows that no earlier update counted. The mean then follows the gateway's path without counting a row twice.
 * Weight = samples × staleness discount. McMahan et al. 2017, Algorithm 1; Nguyen et al. 2022.
 */
export function combineUpdates(
  updates: readonly RoundUpdate[],
  championsSince: (baseVersion: number) => number,
): Combined {
  const weights = updates.map((update) => update.samples * stalenessWeight(championsSince(update.baseVersion)));
  const deltas = updates.map((update) => update.delta);
  const delta = weightedMean(deltas, weights);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return { delta, shares: weights.map((weight) => weight / total) };
}

/** How far each gateway pulled the way the round went: cosine of its own weighted delta with the combined one. */
export function agreements(updates: readonly RoundUpdate[], combined: Combined): Map<string, number | null> {
  const byGateway = Map.groupBy(
    updates.map((update, index) => ({ update, share: combined.shares[index] ?? 0 })),
    ({ update }) => update.gatewayId,
  );
  return new Map(
    [...byGateway].map(([gateway, members]) => {
      const own = weightedMean(
        members.map(({ update }) => update.delta),
        members.map(({ share }) => share),
      );
      return [gateway, cosine(own, combined.delta)];
    }),
  );
}
