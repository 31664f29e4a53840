// What only one coordinator of a database does at a time: it runs the rounds and tidies up after those that are gone.
import type { CohortId } from "../learning/ids.ts";
import type { Logger } from "../runtime/log.ts";
import { pause } from "../runtime/retry.ts";
import type { CohortDirectory } from "./cohort-directory.ts";
import type { CohortState } from "./core/cohort-state.ts";
import type { Evaluators } from "./ports/evaluator.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import type { GatewayStandings } from "./ports/gateway-standings.ts";
import type { GatewayStore } from "./ports/gateway-store.ts";
import type { Invitations } from "./ports/invitations.ts";
import { RoundLoop } from "./round-loop.ts";

/** A notice of updates that was lost is made up for by then. */
const LOOK_EVERY_MS = 2_000;

export interface LeaderDeps {
  readonly directory: CohortDirectory;
  readonly store: FederationStore;
  readonly invitations: Omit<Invitations, "open">;
  readonly standings: Pick<GatewayStandings, "of">;
  readonly gateways: Pick<GatewayStore, "forgetGoneReplicas">;
  readonly openEvaluators: (cohort: CohortState) => Promise<Evaluators>;
  readonly duties: readonly Duty[];
  readonly log: Logger;
}

/** What is for one coordinator to do now and then, beside the rounds. Doing it twice at once must be harmless. */
export interface Duty {
  readonly name: string;
  readonly everyMs: number;
  /** Ends early when `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Round {
  readonly loop: RoundLoop;
  readonly evaluators: Evaluators;
  readonly planId: string;
}

/** One round loop a cohort, and each duty, while this coordinator leads; nothing while it does not. */
export class Leader {
  readonly #deps: LeaderDeps;
  readonly #rounds = new Map<CohortId, Round>();

  constructor(deps: LeaderDeps) {
    this.#deps = deps;
  }

  /** Looks at the cohort's round; false when this coordinator does not lead. */
  check(cohort: string): boolean {
    const round = this.#rounds.get(cohort as CohortId);
    round?.loop.check();
    return round !== undefined;
  }

  /** One term, until `signal` aborts. Never rejects. */
  async lead(signal: AbortSignal): Promise<void> {
    const rounds: Duty = { name: "rounds", everyMs: LOOK_EVERY_MS, run: () => this.#look(signal) };
    try {
      await Promise.all([rounds, ...this.#deps.duties].map((duty) => this.#keepDoing(duty, signal)));
    } finally {
      await this.#stop();
    }
  }

  async #keepDoing({ name, everyMs, run }: Duty, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await run(signal).catch((error: Error) => {
        if (!signal.aborted) this.#deps.log.error({ err: error, duty: name }, "a duty failed; it is tried again");
      });
      await pause(everyMs, signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    await this.#deps.gateways.forgetGoneReplicas();
    for (const state of this.#deps.directory.cohorts) {
      if (signal.aborted) return;
      await this.#roundOf(state);
      this.check(state.cohort);
    }
  }

  /** Another plan has other evaluators. */
  async #roundOf(state: CohortState): Promise<void> {
    const { cohort, planId } = state;
    const known = this.#rounds.get(cohort);
    if (known?.planId === planId) return;
    this.#rounds.delete(cohort);
    await this.#end(known);
    const evaluators = await this.#deps.openEvaluators(state);
    const { store, invitations, standings, directory, log } = this.#deps;
    const deps = { store, invitations, standings, evaluators, known: () => directory.get(cohort) ?? state };
    const loop = new RoundLoop(deps, cohort, log);
    this.#rounds.set(cohort, { loop, evaluators, planId });
  }

  async #stop(): Promise<void> {
    const rounds = [...this.#rounds.values()];
    this.#rounds.clear();
    await Promise.all(rounds.map((round) => this.#end(round)));
  }

  async #end(round: Round | undefined): Promise<void> {
    await round?.loop.stop();
    await round?.evaluators.close();
  }
}
