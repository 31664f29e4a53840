// What a gateway's voice counts for in a cohort's rounds: it falls while its pulls keep doing harm, and comes back.
import type { GatewayPart } from "./combine-updates.ts";

export interface Standing {
  /** In [0.1, 1]. */
  readonly value: number;
  /** Rounds in a row in which its pull was clipped or excluded. */
  readonly roundsApart: number;
  /** Why it is, or was lately, below 1; null: nothing lowered it. */
  readonly reason: string | null;
}

export const FULL_STANDING: Standing = { value: 1, roundsApart: 0, reason: null };

const CUT = 0.8;
const LOWEST = 0.1;
/** Pulls of noise alone lie about as far to either side of 0. */
const AGAINST = -0.1;
/** Rules that exclude a share exclude it among the honest too: once says nothing. */
const ROUNDS_APART = 2;

/**
 * After a round that the gateway had a part in. It falls at once when it pulled against the others, who are the
 * coordinate median because no minority rules it, whatever the rule and the verdict; and when it stood apart for the
 * second round in a row or more. It comes back by a promoted round that counted it whole, while it pulls with the others.
 */
export function nextStanding(
  before: Standing,
  { agreement, withOthers, part }: GatewayPart,
  promoted: boolean,
): Standing {
  const roundsApart = part === "counted" ? 0 : before.roundsApart + 1;
  const cut = (reason: string) => ({ value: Math.max(LOWEST, before.value * CUT), roundsApart, reason });
  if (withOthers !== null && withOthers < AGAINST) {
    return cut(`it pulled against the others (cosine ${withOthers.toFixed(2)})`);
  }
  if (roundsApart >= ROUNDS_APART) return cut(`its pull was ${part}, apart for ${roundsApart} rounds in a row`);
  const helped = promoted && part === "counted" && (withOthers ?? agreement ?? -1) >= 0;
  if (!helped) return { ...before, roundsApart };
  const value = Math.min(1, before.value / CUT);
  return { value, roundsApart, reason: value === 1 ? null : before.reason };
}
