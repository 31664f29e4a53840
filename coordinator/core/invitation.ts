// Who is invited to a synchronous round: fair over time, by a seeded choice.
import type { CohortId, GatewayId } from "../../learning/ids.ts";
import { seededRandom } from "../../learning/random.ts";

/** The synchronous round of a cohort that is open. */
export interface Invitation {
  readonly cohort: CohortId;
  /** The round's number, given when its gateways were invited. */
  readonly roundId: number;
  /** The champion that all of them train from. */
  readonly baseVersion: number;
  readonly gateways: readonly GatewayId[];
  /** The round closes once so many gateways have an update in it. */
  readonly wanted: number;
  readonly untilMs: number;
}

/** A gateway that could be invited: connected, holding the cohort's plan, and with no update that waits for a round. */
export interface ReadyGateway {
  readonly gatewayId: GatewayId;
  /** Null: never. */
  readonly lastInvitedRound: number | null;
}

/**
 * At most `count` of `ready`, those whose last invitation is longest ago first; `seed` decides between equals. So a
 * gateway that stays ready is invited in at least every ⌈ready / count⌉-th round.
 */
export function chooseInvited(ready: readonly ReadyGateway[], count: number, seed: number): GatewayId[] {
  const random = seededRandom(seed);
  const byName = ready.toSorted((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1));
  return byName
    .map((gateway) => ({ ...gateway, chance: random.next() }))
    .sort((a, b) => (a.lastInvitedRound ?? 0) - (b.lastInvitedRound ?? 0) || a.chance - b.chance)
    .slice(0, count)
    .map(({ gatewayId }) => gatewayId);
}
