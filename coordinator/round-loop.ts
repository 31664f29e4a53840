// Runs the rounds of one cohort: closes the open one when it is due and takes the next from there.
import type { Logger } from "../runtime/log.ts";
import { backoffMs } from "../runtime/retry.ts";
import type { CohortState } from "./core/cohort-state.ts";
import { decideRound } from "./core/round-decision.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import { type RoundDeps, type RoundOutcome, runRound } from "./run-round.ts";

interface RoundLoopDeps extends RoundDeps {
  readonly store: FederationStore;
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
    this.#running = this.#closeWhatIsDue().finally(() => {
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

  async #closeWhatIsDue(): Promise<void> {
    try {
      while (!this.#stop.signal.aborted) {
        const open = await this.#deps.store.openRound(this.#state.cohort);
        const decision = decideRound(open, this.#state.federation.round, Date.now());
        if (decision.do === "wait") {
          this.#failures = 0;
          if (decision.untilMs !== null) this.#checkAfter(decision.untilMs - Date.now());
          return;
        }
        const outcome = await runRound(this.#deps, this.#state, this.#stop.signal);
        this.#state = outcome.cohort;
        this.#logRound(outcome);
      }
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const waitMs = backoffMs(this.#failures++, RETRY, Math.random);
      this.#log.error({ err: error, cohort: this.#state.cohort, waitMs }, "a round failed; it is tried again");
      this.#checkAfter(waitMs);
      await this.#readBack().catch(() => undefined);
    }
  }

  /** A connection that broke at the commit leaves open whether the round counts: the database knows. */
  async #readBack(): Promise<void> {
    const stored = (await this.#deps.store.loadCohorts()).find(({ cohort }) => cohort === this.#state.cohort);
    if (stored === undefined || stored.lastVersion === this.#state.lastVersion) return;
    const promoted = stored.champion.version !== this.#state.champion.version;
    this.#state = stored;
    this.#deps.fleet.announce(stored, promoted, []);
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
