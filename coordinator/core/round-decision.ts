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
