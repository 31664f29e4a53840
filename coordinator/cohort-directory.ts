// The cohorts as this coordinator knows them: a copy of what is stored, brought up to date when the database says so.
import type { CohortId } from "../learning/ids.ts";
import type { CohortState } from "./core/cohort-state.ts";
import type { FederationStore } from "./ports/federation-store.ts";

export interface Move {
  /** Undefined: it was not known here before. */
  readonly before: CohortState | undefined;
  readonly after: CohortState;
}

/** Whoever reads a state sees a champion that is durable; never an older one than was read before. */
export class CohortDirectory {
  readonly #store: Pick<FederationStore, "loadCohort" | "loadCohorts" | "revisions">;
  readonly #states = new Map<string, CohortState>();

  constructor(store: Pick<FederationStore, "loadCohort" | "loadCohorts" | "revisions">) {
    this.#store = store;
  }

  get(cohort: string): CohortState | undefined {
    return this.#states.get(cohort);
  }

  get cohorts(): Iterable<CohortState> {
    return this.#states.values();
  }

  /** Null when it is as it was. */
  async refresh(cohort: CohortId): Promise<Move | null> {
    const stored = await this.#store.loadCohort(cohort);
    const before = this.#states.get(cohort);
    if (stored === null || (before !== undefined && before.revision >= stored.revision)) return null;
    this.#states.set(cohort, stored);
    return { before, after: stored };
  }

  /** Every cohort that is not as it was. */
  async refreshAll(): Promise<Move[]> {
    const moves: Move[] = [];
    for (const [cohort, revision] of await this.#store.revisions()) {
      if (this.#states.get(cohort)?.revision === revision) continue;
      const move = await this.refresh(cohort);
      if (move !== null) moves.push(move);
    }
    return moves;
  }
}
