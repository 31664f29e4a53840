// Runs the rounds of one cohort under one plan: does what the round machine says, and tells it what came of that.
import { weightCount } from "../learning/plan.ts";
import type { Logger } from "../runtime/log.ts";
import { backoffMs } from "../runtime/retry.ts";
import type { CohortState } from "./core/cohort-state.ts";
import { roundCapacity } from "./core/round-capacity.ts";
import {
  beginRounds,
  dueNow,
  type OpenRound,
  type RoundEffect,
  type RoundEvent,
  stepRound,
} from "./core/round-machine.ts";
import type { Evaluators } from "./ports/evaluator.ts";
import { type FederationStore, RoundConflictError } from "./ports/federation-store.ts";
import type { Invitations } from "./ports/invitations.ts";
import { type RoundDeps, type RoundOutcome, runRound } from "./run-round.ts";

interface RoundLoopDeps extends Omit<RoundDeps, "evaluator"> {
  readonly store: FederationStore;
  readonly evaluators: Pick<Evaluators, "now">;
  readonly invitations: Omit<Invitations, "open">;
  /** The cohort under the plan as it is known here; it may have moved since. */
  readonly known: () => CohortState;
  /** One after the other: the cohort's rounds under another plan draw on the same versions. */
  readonly inTurn: <Result>(work: () => Promise<Result>) => Promise<Result>;
}

const RETRY = { firstMs: 500, maxMs: 30_000 };
/** Updates come by the thousand a second, and each asks for a look. */
const BETWEEN_LOOKS_MS = 200;

/** At most one round runs at a time, each from what the database says by then. */
export class RoundLoop {
  readonly #deps: RoundLoopDeps;
  readonly #cohort: Pick<CohortState, "cohort" | "planId">;
  readonly #log: Logger;
  #running: Promise<void> | null = null;
  #askedAgain = false;
  #early = false;
  #timer: NodeJS.Timeout | null = null;
  #resting: NodeJS.Timeout | null = null;
  #failures = 0;
  /** How far the store's clock is ahead of this process's; deadlines are by the store's. */
  #aheadMs = 0;
  readonly #stop = new AbortController();

  constructor(deps: RoundLoopDeps, cohort: Pick<CohortState, "cohort" | "planId">, log: Logger) {
    this.#deps = deps;
    this.#cohort = cohort;
    this.#log = log;
  }

  /** Looks whether the open round is due, soon if it has just looked; cheap to call after every stored update. */
  check(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#running || this.#resting) {
      this.#askedAgain = true;
      return;
    }
    this.#running = this.#look().finally(() => {
      this.#running = null;
      this.#resting = setTimeout(() => {
        this.#resting = null;
        if (!this.#askedAgain) return;
        this.#askedAgain = false;
        this.check();
      }, BETWEEN_LOOKS_MS);
    });
  }

  /** As `check`; a round that has its quorum does not wait for its deadline. */
  closeEarly(): void {
    this.#early = true;
    this.check();
  }

  /** A round that is being evaluated is given up and will be run again from what is stored; one that is being recorded ends. */
  async stop(): Promise<void> {
    this.#stop.abort();
    if (this.#timer) clearTimeout(this.#timer);
    await this.#running;
    if (this.#resting) clearTimeout(this.#resting);
  }

  async #look(): Promise<void> {
    try {
      await this.#deps.inTurn(() => this.#step());
      this.#failures = 0;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const waitMs = backoffMs(this.#failures++, RETRY, Math.random);
      const { cohort, planId } = this.#cohort;
      if (error instanceof RoundConflictError) {
        this.#log.info({ cohort, planId, waitMs, why: error.message }, "a round is run again");
      } else {
        this.#log.error({ err: error, cohort, planId, waitMs }, "a round failed; it is tried again");
      }
      this.#checkAfter(waitMs);
    }
  }

  /** What is known here is enough to wait; for anything else the database says how the cohort is. */
  async #step(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const early = this.#early;
    this.#early = false;
    const open = await this.#openRound();
    const [, known] = begin(this.#deps.known(), open, early, this.#nowMs());
    if (known.do === "wait") return this.#wait(known.untilMs);
    let cohort = await this.#deps.store.loadCohort(this.#cohort.cohort, this.#cohort.planId);
    if (cohort === null) return;
    let [machine, effect] = begin(cohort, open, early, this.#nowMs());
    while (effect.do !== "wait") {
      if (this.#stop.signal.aborted) return;
      const done: Done = await this.#carryOut(effect, cohort);
      cohort = done.cohort;
      // The rounds after an early one have their time.
      [machine, effect] = stepRound({ ...machine, settings: cohort.federation.round }, done.event);
    }
    this.#wait(effect.untilMs);
  }

  async #carryOut(effect: Exclude<RoundEffect, { do: "wait" }>, cohort: CohortState): Promise<Done> {
    const { invitations } = this.#deps;
    switch (effect.do) {
      case "look": {
        const gateways = await invitations.ready(cohort);
        return { cohort, event: { kind: "ready", nowMs: this.#nowMs(), gateways, seed: cohort.lastVersion } };
      }
      case "invite": {
        const after = await invitations.invite(cohort, effect.gateways, effect.wanted);
        return { cohort: after, event: { kind: "invited", nowMs: this.#nowMs(), invitation: after.invitation } };
      }
      case "giveUp": {
        const after = await invitations.end(cohort);
        return { cohort: after, event: { kind: "invited", nowMs: this.#nowMs(), invitation: null } };
      }
      case "close": {
        const evaluator = await this.#deps.evaluators.now();
        const outcome = await runRound({ ...this.#deps, evaluator }, cohort, this.#stop.signal);
        this.#logRound(outcome);
        const championVersion = outcome.cohort.champion.version;
        const open = await this.#openRound();
        return { cohort: outcome.cohort, event: { kind: "recorded", nowMs: this.#nowMs(), championVersion, open } };
      }
    }
  }

  async #openRound(): Promise<OpenRound> {
    const { nowMs, ...open } = await this.#deps.store.openRound(this.#cohort);
    this.#aheadMs = nowMs - Date.now();
    return open;
  }

  #nowMs(): number {
    return Date.now() + this.#aheadMs;
  }

  #wait(untilMs: number | null): void {
    if (untilMs !== null) this.#checkAfter(untilMs - this.#nowMs());
  }

  #checkAfter(ms: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => this.check(), Math.max(0, ms));
  }

  #logRound({
    cohort: { cohort, planId, champion, lastVersion, rate },
    verdict,
    reason,
    updates,
    heldOut,
  }: RoundOutcome): void {
    const measured = heldOut && { n: heldOut.n, f1: heldOut.f1, prAuc: heldOut.prAuc };
    const fields = {
      cohort,
      planId,
      candidate: lastVersion,
      champion: champion.version,
      updates,
      reason,
      heldOut: measured,
    };
    this.#log.info({ ...fields, learningRateFactor: rate.factor }, `candidate ${verdict}`);
  }
}

/** The cohort as an effect leaves it, and what the machine is to hear of it. */
interface Done {
  readonly cohort: CohortState;
  readonly event: RoundEvent;
}

function begin(cohort: CohortState, open: OpenRound, early: boolean, nowMs: number) {
  const { federation, champion, invitation, manifest } = cohort;
  const { round: settings } = federation;
  const capacity = roundCapacity(settings, weightCount(manifest.weights));
  const facts = { settings, capacity, championVersion: champion.version, invitation, open };
  return beginRounds(early ? dueNow(facts) : facts, nowMs);
}
