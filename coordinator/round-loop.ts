// Runs the rounds of one cohort: closes the open one when it is due and takes the next from there.
import type { CohortId } from "../learning/ids.ts";
import type { RoundSettings } from "../learning/plan.ts";
import type { Logger } from "../runtime/log.ts";
import { backoffMs } from "../runtime/retry.ts";
import { decideRound } from "./core/round-decision.ts";
import type { Evaluators } from "./ports/evaluator.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import { type RoundDeps, type RoundOutcome, runRound } from "./run-round.ts";

interface RoundLoopDeps extends Omit<RoundDeps, "evaluator"> {
  readonly store: FederationStore;
  readonly evaluators: Pick<Evaluators, "now">;
  /** Of the cohort, as they are now. */
  readonly settings: () => RoundSettings;
}

const RETRY = { firstMs: 500, maxMs: 30_000 };

/** At most one round of the cohort runs at a time, each from what the database says by then. */
export class RoundLoop {
  readonly #deps: RoundLoopDeps;
  readonly #cohort: CohortId;
  readonly #log: Logger;
  #running: Promise<void> | null = null;
  #askedAgain = false;
  #timer: NodeJS.Timeout | null = null;
  #failures = 0;
  readonly #stop = new AbortController();

  constructor(deps: RoundLoopDeps, cohort: CohortId, log: Logger) {
    this.#deps = deps;
    this.#cohort = cohort;
    this.#log = log;
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
        const open = await this.#deps.store.openRound(this.#cohort);
        const decision = decideRound(open, this.#deps.settings(), Date.now());
        if (decision.do === "wait") {
          this.#failures = 0;
          if (decision.untilMs !== null) this.#checkAfter(decision.untilMs - Date.now());
          return;
        }
        const cohort = await this.#deps.store.loadCohort(this.#cohort);
        if (cohort === null) return;
        const evaluator = await this.#deps.evaluators.now();
        this.#logRound(await runRound({ ...this.#deps, evaluator }, cohort, this.#stop.signal));
      }
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const waitMs = backoffMs(this.#failures++, RETRY, Math.random);
      this.#log.error({ err: error, cohort: this.#cohort, waitMs }, "a round failed; it is tried again");
      this.#checkAfter(waitMs);
    }
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
