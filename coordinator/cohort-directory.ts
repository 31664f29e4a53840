// The cohorts as this coordinator knows them: a copy of what is stored, brought up to date when the database says so.
import type { CohortId } from "../learning/ids.ts";
import type { CohortState } from "./core/cohort-state.ts";
import type { FederationStore } from "./ports/federation-store.ts";

/** A cohort under its plans, the active one first. */
export interface Move {
  /** Empty: it was not known here before. */
  readonly before: readonly CohortState[];
  readonly after: readonly CohortState[];
}

/** Whoever reads a state sees a champion that is durable; never an older one than was read before. */
export class CohortDirectory {
  readonly #store: Pick<FederationStore, "loadPlans" | "revisions">;
  readonly #states = new Map<string, readonly CohortState[]>();

  constructor(store: Pick<FederationStore, "loadPlans" | "revisions">) {
    this.#store = store;
  }

  /** Under its active plan, or under `plan`, active or leaving. */
  get(cohort: string, plan?: string): CohortState | undefined {
    const known = this.#states.get(cohort);
    return known?.find(({ state, planId }) => (plan === undefined ? state === "active" : planId === plan));
  }

  /** Each under every plan that it learns by or leaves. */
  get cohorts(): Iterable<CohortState> {
    return [...this.#states.values()].flat();
  }

  /** Null when it is as it was. */
  async refresh(cohort: CohortId): Promise<Move | null> {
    const after = await this.#store.loadPlans(cohort);
    const before = this.#states.get(cohort) ?? [];
    const [stored] = after;
    if (stored === undefined || (before[0] !== undefined && before[0].revision >= stored.revision)) return null;
    this.#states.set(cohort, after);
    return { before, after };
  }

  /** Every cohort that is not as it was. */
  async refreshAll(): Promise<Move[]> {
    const moves: Move[] = [];
    for (const [cohort, revision] of await this.#store.revisions()) {
      if (this.#states.get(cohort)?.[0]?.revision === revision) continue;
      const move = await this.refresh(cohort);
      if (move !== null) moves.push(move);
    }
    return moves;
  }
}
