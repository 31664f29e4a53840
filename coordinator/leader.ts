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
  readonly state: Pick<CohortState, "cohort" | "planId">;
}

const keyOf = ({ cohort, planId }: Pick<CohortState, "cohort" | "planId">) => `${cohort} ${planId}`;

type InTurn = <Result>(work: () => Promise<Result>) => Promise<Result>;

function oneAfterTheOther(): InTurn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}

/** One round loop a cohort and plan, and each duty, while this coordinator leads; nothing while it does not. */
export class Leader {
  readonly #deps: LeaderDeps;
  /** By cohort and plan. */
  readonly #rounds = new Map<string, Round>();
  readonly #turns = new Map<CohortId, InTurn>();

  constructor(deps: LeaderDeps) {
    this.#deps = deps;
  }

  /** Looks at the cohort's rounds; false when this coordinator does not lead. */
  check(cohort: string): boolean {
    const rounds = [...this.#rounds.values()].filter((round) => round.state.cohort === cohort);
    for (const { loop } of rounds) loop.check();
    return rounds.length > 0;
  }

  /** The open round of its active plan does not wait for its deadline, once it has its quorum. */
  closeEarly(cohort: CohortId): void {
    const planId = this.#deps.directory.get(cohort)?.planId;
    if (planId !== undefined) this.#rounds.get(keyOf({ cohort, planId }))?.loop.closeEarly();
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
    const { directory, gateways, log } = this.#deps;
    await gateways.forgetGoneReplicas();
    for (const [key, round] of this.#rounds) {
      const { cohort, planId } = round.state;
      if (directory.get(cohort, planId) !== undefined) continue;
      this.#rounds.delete(key);
      await this.#end(round);
    }
    for (const state of directory.cohorts) {
      if (signal.aborted) return;
      const { cohort, planId } = state;
      await this.#begin(state).catch((error: Error) => {
        log.error({ err: error, cohort, planId }, "a cohort's rounds could not begin; it is tried again");
      });
      this.check(cohort);
    }
  }

  async #begin(state: CohortState): Promise<void> {
    const { cohort, planId } = state;
    const key = keyOf(state);
    if (this.#rounds.has(key)) return;
    const evaluators = await this.#deps.openEvaluators(state);
    const { store, invitations, standings, directory, log } = this.#deps;
    const known = () => directory.get(cohort, planId) ?? state;
    const inTurn = this.#turnsOf(cohort);
    const loop = new RoundLoop({ store, invitations, standings, evaluators, known, inTurn }, state, log);
    this.#rounds.set(key, { loop, evaluators, state });
  }

  #turnsOf(cohort: CohortId): InTurn {
    const turns = this.#turns.get(cohort) ?? oneAfterTheOther();
    this.#turns.set(cohort, turns);
    return turns;
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
