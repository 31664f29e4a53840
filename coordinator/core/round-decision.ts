// When a cohort's open round closes: at K updates or the deadline, and never with too few gateways (FedBuff, Nguyen et al. 2022).
import type { RoundSettings } from "../../learning/plan.ts";

export interface OpenRound {
  readonly updates: number;
  readonly gateways: number;
  /** When its first update was stored; null while there is none. */
  readonly openedAtMs: number | null;
}

export type RoundDecision = { readonly do: "close" } | { readonly do: "wait"; readonly untilMs: number | null };

/** `untilMs` is when to ask again if nothing arrives; null: only an arrival can change the answer. */
export function decideRound(round: OpenRound, settings: RoundSettings, nowMs: number): RoundDecision {
  if (round.openedAtMs === null || round.gateways < settings.minGateways) return { do: "wait", untilMs: null };
  const deadlineMs = round.openedAtMs + settings.deadlineMs;
  if (round.updates >= settings.updates || nowMs >= deadlineMs) return { do: "close" };
  return { do: "wait", untilMs: deadlineMs };
}

const MAX_UPDATES_A_ROUND = 1000;
const MAX_DELTA_BYTES_A_ROUND = 16 * 1024 * 1024;

/** The most updates that a round takes: as many decoded deltas of float32 as are bounded in memory, and at least K. */
export function roundCapacity({ updates }: RoundSettings, parameters: number): number {
  const fitting = Math.floor(MAX_DELTA_BYTES_A_ROUND / (4 * parameters));
  return Math.max(updates, Math.min(fitting, MAX_UPDATES_A_ROUND));
}
