// What a gateway's voice counts for in a cohort's rounds: it falls while its pulls keep doing harm, and comes back.
import type { GatewayPart } from "./combine-updates.ts";

export interface GatewayStanding {
  /** In [0.1, 1]. */
  readonly value: number;
  /** Rounds in a row in which its pull was clipped or excluded, and did not go with the others. */
  readonly roundsApart: number;
  /** Why it is, or was lately, below 1; null: nothing lowered it. */
  readonly reason: string | null;
}

export const FULL_STANDING: GatewayStanding = { value: 1, roundsApart: 0, reason: null };

const CUT = 0.8;
const LOWEST = 0.1;
/** Cosines with the others; between the two a pull says nothing, for noise alone lies about as far to either side of 0. */
const AGAINST = -0.1;
const WITH = 0.1;
/** Rules that exclude a share exclude it among the honest too: once says nothing. */
const ROUNDS_APART = 2;

/**
 * After a round that the gateway had a part in. It falls when its pull went against the others, who are the coordinate
 * median because no minority rules it, whatever the rule and the verdict; and when it stood apart for the second round in
 * a row or more. To be clipped or excluded is no fault of one that goes with the others. It comes back by rounds
 * that pass the gate and in which it did neither. Of two gateways nobody can say which is astray: then it does not fall.
 */
export function nextStanding(
  before: GatewayStanding,
  { agreement, withOthers, part }: GatewayPart,
  passed: boolean,
): GatewayStanding {
  const apart = withOthers !== null && withOthers < WITH && part !== "counted";
  const roundsApart = apart ? before.roundsApart + 1 : 0;
  const cut = (reason: string) => ({ value: Math.max(LOWEST, before.value * CUT), roundsApart, reason });
  if (withOthers !== null && withOthers < AGAINST) {
    return cut(`it pulled against the others (cosine ${withOthers.toFixed(2)})`);
  }
  if (roundsApart >= ROUNDS_APART) return cut(`its pull was ${part}, apart for ${roundsApart} rounds in a row`);
  if (!passed || apart || (withOthers ?? agreement ?? -1) < 0) return { ...before, roundsApart };
  const raised = before.value / CUT;
  return raised > WHOLE ? { ...FULL_STANDING, roundsApart } : { value: raised, roundsApart, reason: before.reason };
}

/** What 1 × 0.8 × 0.8 / 0.8 / 0.8 may come to in binary. */
const WHOLE = 1 - 1e-9;
