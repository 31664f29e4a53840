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
  /** When the cohort's last round was recorded, under whatever plan; null: it had none. */
  readonly lastRoundAtMs: number | null;
}

/** All that a leader has to know, whoever led before; the database says it. */
export interface RoundFacts {
  readonly settings: RoundSettings;
  readonly championVersion: number;
  /** Updates that one round takes in: more would only wait for the next. */
  readonly capacity: number;
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

/** What came of an effect. */
export type RoundEvent =
  /** Of "look". */
  | {
      readonly kind: "ready";
      readonly nowMs: number;
      readonly gateways: readonly ReadyGateway[];
      readonly seed: number;
    }
  /** Of "invite" or "giveUp": what is durable now. */
  | { readonly kind: "invited"; readonly nowMs: number; readonly invitation: Invitation | null }
  /** Of "close": the round is durable, and its updates wait no longer. */
  | { readonly kind: "recorded"; readonly nowMs: number; readonly championVersion: number; readonly open: OpenRound };

export type RoundEffect =
  /** Combine, judge and record what the round has. */
  | { readonly do: "close" }
  /** Look again then if nothing arrives; null: only an arrival can change the answer. It has no event. */
  | { readonly do: "wait"; readonly untilMs: number | null }
  /** Find out which gateways are ready. */
  | { readonly do: "look" }
  /** Make an invitation durable in place of the one before. */
  | { readonly do: "invite"; readonly gateways: readonly GatewayId[]; readonly wanted: number }
  /** Make durable that the open round is over, with nothing in its place. */
  | { readonly do: "giveUp" };

type Step = readonly [RoundState, RoundEffect];

/** While too few gateways are ready, they are looked for so often. */
const LOOK_AGAIN_MS = 5_000;
/** 10 × 1.1 is 11, though it is more in binary. */
const ROUNDING = 1e-9;

/**
 * Where every look begins: after an arrival, when it is time, and where another leader stopped. So nothing is lost with
 * a leader that the database does not say.
 */
export function beginRounds(facts: RoundFacts, nowMs: number): Step {
  if (facts.settings.mode === "buffered") return settle({ ...facts, phase: "filling" }, nowMs);
  return settle({ ...facts, phase: facts.invitation === null ? "uninvited" : "invited" }, nowMs);
}

/** As though the deadline were now, for a round that has its quorum. */
export function dueNow(facts: RoundFacts): RoundFacts {
  const { settings, open, invitation } = facts;
  if (open.gateways < settings.minGateways) return facts;
  return {
    ...facts,
    settings: { ...settings, deadlineMs: 0 },
    invitation: invitation && { ...invitation, untilMs: 0 },
  };
}

/** What is to be done once an effect came to `event`. */
export function stepRound(state: RoundState, event: RoundEvent): Step {
  switch (event.kind) {
    case "ready":
      return invite(state, event);
    case "invited": {
      const { invitation, nowMs } = event;
      if (invitation === null) return wait({ ...state, invitation, phase: "uninvited" }, nowMs + LOOK_AGAIN_MS);
      return settle({ ...state, invitation, phase: "invited" }, nowMs);
    }
    case "recorded": {
      const { championVersion, open, nowMs } = event;
      const { settings, capacity } = state;
      return beginRounds({ settings, capacity, championVersion, open, invitation: null }, nowMs);
    }
  }
}

type Settled = RoundState & { readonly phase: "filling" | "uninvited" | "invited" };

/** What follows from the state at `nowMs`, whatever led to it. */
function settle(state: Settled, nowMs: number): Step {
  const { settings, open } = state;
  switch (state.phase) {
    case "filling": {
      if (open.openedAtMs === null || open.gateways < settings.minGateways) return wait(state, null);
      const deadlineMs = open.openedAtMs + settings.deadlineMs;
      const full = settings.mode === "buffered" && open.updates >= settings.updates;
      const paced = settings.mode === "buffered" && open.updates < state.capacity;
      const soonestMs = paced ? (open.lastRoundAtMs ?? 0) + settings.intervalMs : 0;
      const dueMs = Math.max(full ? 0 : deadlineMs, soonestMs);
      return nowMs >= dueMs ? close(state) : wait(state, dueMs);
    }
    case "uninvited":
      return settings.mode === "synchronous" && open.gateways >= settings.gateways
        ? close(state)
        : [state, { do: "look" }];
    case "invited": {
      const { invitation } = state;
      // Another champion than the one they were invited to train from: nobody would answer.
      const outdated = invitation === null || invitation.baseVersion !== state.championVersion;
      if (outdated) return [{ ...state, phase: "uninvited" }, { do: "look" }];
      if (open.gateways >= invitation.wanted) return close(state);
      if (nowMs < invitation.untilMs) return wait(state, invitation.untilMs);
      return open.gateways >= settings.minGateways ? close(state) : [{ ...state, phase: "uninvited" }, { do: "look" }];
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
      : [{ ...state, phase: "inviting" }, { do: "giveUp" }];
  }
  if (gateways.length === 0) return close(state);
  const count = Math.ceil((settings.gateways - waiting) * (1 + settings.overSelection) - ROUNDING);
  const chosen = chooseInvited(gateways, count, seed);
  const wanted = Math.min(settings.gateways, waiting + chosen.length);
  return [
    { ...state, phase: "inviting" },
    { do: "invite", gateways: chosen, wanted },
  ];
}

const close = (state: RoundState): Step => [{ ...state, phase: "closing" }, { do: "close" }];

const wait = (state: RoundState, untilMs: number | null): Step => [state, { do: "wait", untilMs }];
