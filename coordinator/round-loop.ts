// Runs the rounds of one cohort: does what the round machine says, and tells it what came of that.
import type { Logger } from "../runtime/log.ts";
import { backoffMs } from "../runtime/retry.ts";
import type { CohortState } from "./core/cohort-state.ts";
import { beginRounds, type RoundEffect, type RoundEvent, type RoundState, stepRound } from "./core/round-machine.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import type { Fleet } from "./ports/fleet.ts";
import type { Invitations } from "./ports/invitations.ts";
import { type RoundDeps, type RoundOutcome, runRound } from "./run-round.ts";

interface RoundLoopDeps extends RoundDeps {
  readonly store: FederationStore;
  readonly invitations: Omit<Invitations, "open">;
  readonly fleet: Fleet;
}

const RETRY = { firstMs: 500, maxMs: 30_000 };

/**
 * At most one round of the cohort runs at a time, and `state` moves only after a round is recorded: whoever reads it
 * sees a champion that is durable.
 */
export class RoundLoop {
  readonly #deps: RoundLoopDeps;
  readonly #log: Logger;
  #state: CohortState;
  /** Null: to begin from what the database says. */
  #machine: RoundState | null = null;
  #running: Promise<void> | null = null;
  #askedAgain = false;
  #timer: NodeJS.Timeout | null = null;
  #failures = 0;
  readonly #stop = new AbortController();

  constructor(deps: RoundLoopDeps, state: CohortState, log: Logger) {
    this.#deps = deps;
    this.#state = state;
    this.#log = log;
  }

  get state(): CohortState {
    return this.#state;
  }

  /** Looks whether the open round is due; cheap to call after every stored update. */
  check(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#running) {
      this.#askedAgain = true;
      return;
    }
    this.#running = this.#look().finally(() => {
      this.#running = null;
      if (!this.#askedAgain) return;
      this.#askedAgain = false;
      this.check();
    });
  }

  /** A round that is being evaluated is given up and will be run again from what is stored; one that is being recorded ends. */
  async stop(): Promise<void> {
    this.#stop.abort();
    if (this.#timer) clearTimeout(this.#timer);
    await this.#running;
  }

  async #look(): Promise<void> {
    try {
      await this.#step();
      this.#failures = 0;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const waitMs = backoffMs(this.#failures++, RETRY, Math.random);
      this.#log.error({ err: error, cohort: this.#state.cohort, waitMs }, "a round failed; it is tried again");
      this.#machine = null;
      this.#checkAfter(waitMs);
      await this.#readBack().catch(() => undefined);
    }
  }

  /** One event into the machine, and what follows from it until there is nothing to do but wait. */
  async #step(): Promise<void> {
    const open = await this.#deps.store.openRound(this.#state.cohort);
    const nowMs = Date.now();
    let [machine, effects] =
      this.#machine === null
        ? beginRounds({ ...roundFacts(this.#state), open }, nowMs)
        : stepRound(this.#machine, { kind: "counted", nowMs, open });
    this.#machine = machine;
    for (let effect = effects[0]; effect !== undefined; effect = effects[0]) {
      if (this.#stop.signal.aborted) return;
      const event = await this.#carryOut(effect);
      [machine, effects] = event === null ? [machine, effects.slice(1)] : stepRound(machine, event);
      this.#machine = machine;
    }
  }

  /** Null: the machine learns nothing from it. */
  async #carryOut(effect: RoundEffect): Promise<RoundEvent | null> {
    const { invitations, fleet, store } = this.#deps;
    const cohort = this.#state;
    switch (effect.do) {
      case "wait":
        if (effect.untilMs !== null) this.#checkAfter(effect.untilMs - Date.now());
        return null;
      case "look": {
        const gateways = await invitations.ready(cohort);
        return { kind: "ready", nowMs: Date.now(), gateways, seed: cohort.lastVersion };
      }
      case "invite":
      case "giveUp": {
        const invitation =
          effect.do === "invite" ? await invitations.invite(cohort, effect.gateways, effect.wanted) : null;
        if (invitation === null) await invitations.end(cohort);
        this.#state = { ...cohort, invitation };
        return { kind: "invited", nowMs: Date.now(), invitation };
      }
      case "tell":
        fleet.invite(effect.invitation, effect.invitation.gateways);
        return null;
      case "close": {
        const outcome = await runRound(this.#deps, cohort, this.#stop.signal);
        this.#state = outcome.cohort;
        this.#logRound(outcome);
        const { version } = outcome.cohort.champion;
        const open = await store.openRound(cohort.cohort);
        return { kind: "recorded", nowMs: Date.now(), championVersion: version, open };
      }
    }
  }

  /** A connection that broke at the commit leaves open whether the round counts: the database knows. */
  async #readBack(): Promise<void> {
    const stored = (await this.#deps.store.loadCohorts()).find(({ cohort }) => cohort === this.#state.cohort);
    if (stored === undefined) return;
    const before = this.#state;
    this.#state = stored;
    if (stored.lastVersion === before.lastVersion) return;
    this.#deps.fleet.announce(stored, stored.champion.version !== before.champion.version, []);
  }

  #checkAfter(ms: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => this.check(), Math.max(0, ms));
  }

  #logRound({
    cohort: { cohort, champion, lastVersion, rate },
    verdict,
    reason,
    updates,
    heldOut,
  }: RoundOutcome): void {
    const measured = heldOut && { n: heldOut.n, f1: heldOut.f1, prAuc: heldOut.prAuc };
    const fields = { cohort, candidate: lastVersion, champion: champion.version, updates, reason, heldOut: measured };
    this.#log.info({ ...fields, learningRateFactor: rate.factor }, `candidate ${verdict}`);
  }
}

const roundFacts = ({ federation, champion, invitation }: CohortState) => ({
  settings: federation.round,
  championVersion: champion.version,
  invitation,
});
