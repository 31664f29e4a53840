// When a cohort's round closes and who is invited to it: a pure machine, told what happened, that says what is to be done.
import type { GatewayId } from "../../learning/ids.ts";
import type { RoundSettings, SynchronousRoundSettings } from "../../learning/plan.ts";
import { chooseInvited, type Invitation, type ReadyGateway } from "./invitation.ts";

/** The updates that wait for a round, as the database counts them. */
export interface OpenRound {
  readonly updates: number;
  readonly gateways: number;
  /** When the first of them was stored; null while there is none. */
  readonly openedAtMs: number | null;
}

/** All that a leader has to know to go on where another one stopped; the database says it. */
export interface RoundFacts {
  readonly settings: RoundSettings;
  readonly championVersion: number;
  readonly open: OpenRound;
  /** Of a synchronous round that is open. */
  readonly invitation: Invitation | null;
}

/**
 * filling: buffered, until it closes. uninvited: synchronous, until gateways are chosen. inviting: until the invitation is
 * durable. invited: until enough answered, or the deadline. closing: until the round is recorded.
 */
export interface RoundState extends RoundFacts {
  readonly phase: "filling" | "uninvited" | "inviting" | "invited" | "closing";
}

export type RoundEvent =
  /** What waits was counted: because updates were stored, here or elsewhere, or because it was time. */
  | { readonly kind: "counted"; readonly nowMs: number; readonly open: OpenRound }
  /** The answer to "look". */
  | {
      readonly kind: "ready";
      readonly nowMs: number;
      readonly gateways: readonly ReadyGateway[];
      readonly seed: number;
    }
  /** The invitation is durable, or its end is. */
  | { readonly kind: "invited"; readonly nowMs: number; readonly invitation: Invitation | null }
  /** The round that closed is durable: its updates wait no longer. */
  | {
      readonly kind: "recorded";
      readonly nowMs: number;
      readonly championVersion: number;
      readonly open: OpenRound;
    };

export type RoundEffect =
  /** Combine, judge and record what the round has; then "recorded". */
  | { readonly do: "close" }
  /** Ask again then if nothing arrives; null: only an arrival can change the answer. */
  | { readonly do: "wait"; readonly untilMs: number | null }
  /** Find out which gateways are ready; then "ready". */
  | { readonly do: "look" }
  /** Make an invitation durable in place of the one before; then "invited". */
  | { readonly do: "invite"; readonly gateways: readonly GatewayId[]; readonly wanted: number }
  /** Make durable that the open round is over, with nothing in its place; then "invited". */
  | { readonly do: "giveUp" }
  /** Say it to the gateways; one that has heard it or has answered does nothing. */
  | { readonly do: "tell"; readonly invitation: Invitation };

/** An effect that an event answers comes last. */
type Step = readonly [RoundState, readonly RoundEffect[]];

/** While too few gateways are ready, they are looked for so often. */
const LOOK_AGAIN_MS = 5_000;
/** 10 × 1.1 is 11, though it is more in binary. */
const ROUNDING = 1e-9;

/** Where a leader begins, and after anything that failed begins again. */
export function beginRounds(facts: RoundFacts, nowMs: number): Step {
  if (facts.settings.mode === "buffered") return settle({ ...facts, phase: "filling" }, nowMs);
  const { invitation } = facts;
  if (invitation === null) return settle({ ...facts, phase: "uninvited" }, nowMs);
  const [state, effects] = settle({ ...facts, phase: "invited" }, nowMs);
  // The leader before may have stopped between the invitation and its words.
  return state.phase === "invited" ? [state, [{ do: "tell", invitation }, ...effects]] : [state, effects];
}

export function stepRound(state: RoundState, event: RoundEvent): Step {
  switch (event.kind) {
    case "counted":
      return settle({ ...state, open: event.open }, event.nowMs);
    case "ready":
      return state.phase === "uninvited" ? invite(state, event) : settle(state, event.nowMs);
    case "invited": {
      const { invitation } = event;
      if (invitation === null) return wait({ ...state, invitation, phase: "uninvited" }, event.nowMs + LOOK_AGAIN_MS);
      const [next, effects] = settle({ ...state, invitation, phase: "invited" }, event.nowMs);
      return [next, [{ do: "tell", invitation }, ...effects]];
    }
    case "recorded": {
      const { championVersion, open, nowMs } = event;
      return beginRounds({ settings: state.settings, championVersion, open, invitation: null }, nowMs);
    }
  }
}

/** What follows from the state at `nowMs`, whatever led to it. */
function settle(state: RoundState, nowMs: number): Step {
  const { settings, open } = state;
  switch (state.phase) {
    case "closing":
    case "inviting":
      return [state, []];
    case "filling": {
      if (open.openedAtMs === null || open.gateways < settings.minGateways) return wait(state, null);
      const deadlineMs = open.openedAtMs + settings.deadlineMs;
      const full = settings.mode === "buffered" && open.updates >= settings.updates;
      return full || nowMs >= deadlineMs ? close(state) : wait(state, deadlineMs);
    }
    case "uninvited":
      return settings.mode === "synchronous" && open.gateways >= settings.gateways
        ? close(state)
        : [state, [{ do: "look" }]];
    case "invited": {
      const { invitation } = state;
      // Another champion than the one they were invited to train from: nobody would answer.
      const outdated = invitation === null || invitation.baseVersion !== state.championVersion;
      if (outdated) return [{ ...state, phase: "uninvited" }, [{ do: "look" }]];
      if (open.gateways >= invitation.wanted) return close(state);
      if (nowMs < invitation.untilMs) return wait(state, invitation.untilMs);
      return open.gateways >= settings.minGateways
        ? close(state)
        : [{ ...state, phase: "uninvited" }, [{ do: "look" }]];
    }
  }
}

/**
 * As many as are missing and the share that will not answer, chosen among those that are ready. What came of a round that
 * was given up waits and counts, so its gateways are not asked again.
 */
function invite(state: RoundState, { gateways, seed, nowMs }: Extract<RoundEvent, { kind: "ready" }>): Step {
  const settings = state.settings as SynchronousRoundSettings;
  const waiting = state.open.gateways;
  if (waiting + gateways.length < settings.minGateways) {
    return state.invitation === null
      ? wait(state, nowMs + LOOK_AGAIN_MS)
      : [{ ...state, phase: "inviting" }, [{ do: "giveUp" }]];
  }
  if (gateways.length === 0) return close(state);
  const count = Math.ceil((settings.gateways - waiting) * (1 + settings.overSelection) - ROUNDING);
  const chosen = chooseInvited(gateways, count, seed);
  const wanted = Math.min(settings.gateways, waiting + chosen.length);
  return [{ ...state, phase: "inviting" }, [{ do: "invite", gateways: chosen, wanted }]];
}

const close = (state: RoundState): Step => [{ ...state, phase: "closing" }, [{ do: "close" }]];

const wait = (state: RoundState, untilMs: number | null): Step => [state, [{ do: "wait", untilMs }]];
