// How many samples a gateway may claim: a token bucket, so that no claim goes beyond what time allows.
import type { SampleBoundSettings } from "../../learning/plan.ts";

/** What was left to claim at that time. */
export interface SampleBudget {
  readonly samples: number;
  readonly atMs: number;
}

/** What can be claimed now; `budget` null: nothing was claimed lately, and the bucket is full. */
export function samplesLeft(budget: SampleBudget | null, bound: SampleBoundSettings, nowMs: number): number {
  const full = (bound.rowsPerSecond * bound.burstMs) / 1000;
  if (budget === null) return full;
  const passedMs = Math.max(0, nowMs - budget.atMs);
  return Math.min(full, budget.samples + (bound.rowsPerSecond * passedMs) / 1000);
}
