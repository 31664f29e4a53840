// What a candidate was made of, small enough to be kept for ever.
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";
import type { GatewayPart, NextModel, RoundUpdate } from "./combine-updates.ts";

export interface Contribution {
  readonly updateId: string;
  readonly gatewayId: string;
  readonly baseVersion: number;
  readonly samples: number;
  /** What the age of its base left of its weight, above 0, to 1; null: not known. */
  readonly stalenessWeight: number | null;
  /** In what was combined; a round's shares sum to 1. */
  readonly share: number;
  /** What the rule did with its gateway; null: not known. */
  readonly part: GatewayPart["part"] | null;
}

export interface GatewayContribution extends Pick<Contribution, "gatewayId" | "samples" | "share" | "part"> {
  readonly updates: number;
}

/** One an update, in the order given. */
export function contributionsOf(
  updates: readonly RoundUpdate[],
  { shares, gateways }: Pick<NextModel, "shares" | "gateways">,
  championsSince: (baseVersion: number) => number,
): Contribution[] {
  return updates.map(({ updateId, gatewayId, baseVersion, samples }, index) => ({
    updateId,
    gatewayId,
    baseVersion,
    samples,
    stalenessWeight: stalenessWeight(championsSince(baseVersion)),
    share: shares[index] ?? 0,
    part: gateways.get(gatewayId)?.part ?? null,
  }));
}

/** The largest share first. */
export function byGateway(contributions: readonly Contribution[]): GatewayContribution[] {
  const gateways = [...Map.groupBy(contributions, ({ gatewayId }) => gatewayId)].map(([gatewayId, its]) => ({
    gatewayId,
    updates: its.length,
    samples: its.reduce((sum, { samples }) => sum + samples, 0),
    share: its.reduce((sum, { share }) => sum + share, 0),
    part: its[0]?.part ?? null,
  }));
  return gateways.toSorted((a, b) => b.share - a.share);
}
