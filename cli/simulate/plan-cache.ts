// The plans of a worker's gateways: each is fetched once, by the gateway that first hears of it, as if the others had it
// in their caches.
import type { CoordinatorLink } from "../../agent/ports/coordinator-link.ts";
import type { PlanId } from "../../learning/ids.ts";
import { type BackoffSettings, backoffMs, pause } from "../../runtime/retry.ts";
import { type MadePlan, madePlan } from "./made-plan.ts";

const REFETCH: BackoffSettings = { firstMs: 1_000, maxMs: 30_000 };

export class PlanCache {
  readonly #fetches = new Map<PlanId, Promise<MadePlan>>();
  readonly #seed: number;
  readonly #random: () => number;
  readonly #problem: (what: string) => void;
  #newest: MadePlan | null = null;

  constructor(seed: number, random: () => number, problem: (what: string) => void) {
    this.#seed = seed;
    this.#random = random;
    this.#problem = problem;
  }

  /** The plan that was fetched last. */
  get newest(): MadePlan | null {
    return this.#newest;
  }

  /** Tries until it is there; rejects when `signal` aborts. */
  get(planId: PlanId, link: CoordinatorLink, signal: AbortSignal): Promise<MadePlan> {
    const known = this.#fetches.get(planId);
    if (known !== undefined) return known;
    const fetch = this.#fetch(planId, link, signal);
    this.#fetches.set(planId, fetch);
    return fetch;
  }

  async #fetch(planId: PlanId, link: CoordinatorLink, signal: AbortSignal): Promise<MadePlan> {
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted();
      try {
        this.#newest = madePlan(await link.fetchPlan(planId, signal), this.#seed);
        return this.#newest;
      } catch (error) {
        if (!signal.aborted) this.#problem((error as Error).message);
        await pause(backoffMs(attempt, REFETCH, this.#random), signal);
      }
    }
  }
}
