// What each gateway may still claim to have learned from, whatever session it comes by.
import type { SampleBoundSettings } from "../../../learning/plan.ts";
import type { Refusal } from "../../core/check-update.ts";
import { type SampleBudget, samplesLeft } from "../../core/sample-budget.ts";
import type { NewUpdate } from "../../ports/federation-store.ts";

const MAX_BUDGETS = 20_000;

type Claim = Pick<NewUpdate, "cohort" | "gatewayId" | "samples">;

/**
 * One budget a gateway and cohort. Of more than `maxBudgets` those claimed from longest ago are forgotten, and are full
 * again: as they are by themselves once nothing was claimed for the time of the burst.
 */
export class SampleBudgets {
  readonly #nowMs: () => number;
  readonly #maxBudgets: number;
  readonly #budgets = new Map<string, SampleBudget>();

  constructor(nowMs: () => number, maxBudgets = MAX_BUDGETS) {
    this.#nowMs = nowMs;
    this.#maxBudgets = maxBudgets;
  }

  /** Takes the claim's samples from the budget, or says why not and takes nothing. */
  claim(claim: Claim, bound: SampleBoundSettings): Refusal | null {
    const atMs = this.#nowMs();
    const key = keyOf(claim);
    const left = samplesLeft(this.#budgets.get(key) ?? null, bound, atMs);
    if (claim.samples > left) {
      const message = `${claim.samples} samples; time allows ${Math.floor(left)}`;
      return { kind: "refused", reason: "too_many_samples", message };
    }
    this.#budgets.delete(key); // so that the last claimed from stands last
    this.#budgets.set(key, { samples: left - claim.samples, atMs });
    const [oldest] = this.#budgets.keys();
    if (this.#budgets.size > this.#maxBudgets && oldest !== undefined) this.#budgets.delete(oldest);
    return null;
  }

  /** The claim's update did not count. */
  giveBack(claim: Claim): void {
    const budget = this.#budgets.get(keyOf(claim));
    if (budget) this.#budgets.set(keyOf(claim), { ...budget, samples: budget.samples + claim.samples });
  }
}

const keyOf = ({ cohort, gatewayId }: Claim) => `${cohort} ${gatewayId}`;
