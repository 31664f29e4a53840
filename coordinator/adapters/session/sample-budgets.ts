// What each gateway may still claim to have learned from, whatever session it comes by.
import type { SampleBoundSettings } from "../../../learning/plan.ts";
import type { Refusal } from "../../core/check-update.ts";
import { fullBucket, type TokenBucket, takeToken } from "../../core/token-bucket.ts";
import type { NewUpdate } from "../../ports/federation-store.ts";

const MAX_BUDGETS = 20_000;

type Claim = Pick<NewUpdate, "cohort" | "gatewayId" | "samples">;

/**
 * One bucket of samples a gateway and cohort. Of more than `maxBudgets` those claimed from longest ago are forgotten, and
 * are full again: as they are by themselves once nothing was claimed for the time of the burst.
 */
export class SampleBudgets {
  readonly #nowMs: () => number;
  readonly #maxBudgets: number;
  readonly #budgets = new Map<string, TokenBucket>();

  constructor(nowMs: () => number, maxBudgets = MAX_BUDGETS) {
    this.#nowMs = nowMs;
    this.#maxBudgets = maxBudgets;
  }

  /** Takes the claim's samples from the budget, or says why not and takes nothing. */
  claim(claim: Claim, { rowsPerSecond, burstMs }: SampleBoundSettings): Refusal | null {
    const rate = { perSecond: rowsPerSecond, burst: (rowsPerSecond * burstMs) / 1000 };
    const nowMs = this.#nowMs();
    const key = keyOf(claim);
    const [left, earlyMs] = takeToken(this.#budgets.get(key) ?? fullBucket(rate, nowMs), rate, nowMs, claim.samples);
    if (earlyMs > 0) {
      const allowed = `allowed are ${rowsPerSecond} a second and ${rate.burst} at once`;
      const message = `${claim.samples} samples, ${(earlyMs / 1000).toFixed(1)} s before time allows them; ${allowed}`;
      return { kind: "refused", reason: "too_many_samples", message };
    }
    this.#budgets.delete(key); // so that the last claimed from stands last
    this.#budgets.set(key, left);
    const [oldest] = this.#budgets.keys();
    if (this.#budgets.size > this.#maxBudgets && oldest !== undefined) this.#budgets.delete(oldest);
    return null;
  }

  /** The claim's update did not count. */
  giveBack(claim: Claim): void {
    const budget = this.#budgets.get(keyOf(claim));
    if (budget) this.#budgets.set(keyOf(claim), { ...budget, tokens: budget.tokens + claim.samples });
  }
}

const keyOf = ({ cohort, gatewayId }: Claim) => `${cohort} ${gatewayId}`;
