// What a day costs in bytes, and what waits for the next one when its budget is spent.

export interface DayBytes {
  /** By all of the process; null: not measured. */
  readonly flashWritten: number | null;
  readonly coordinatorSent: number;
  readonly coordinatorReceived: number;
  readonly brokerSent: number;
  readonly brokerReceived: number;
}

export const noBytes: DayBytes = {
  flashWritten: null,
  coordinatorSent: 0,
  coordinatorReceived: 0,
  brokerSent: 0,
  brokerReceived: 0,
};

/** Summaries leave the rest of the budget to updates. */
const SUMMARIES_SHARE = 0.8;

export type Withheld = "summaries" | "updates";

export const added = (a: DayBytes, b: DayBytes): DayBytes => ({
  flashWritten:
    a.flashWritten === null && b.flashWritten === null ? null : (a.flashWritten ?? 0) + (b.flashWritten ?? 0),
  coordinatorSent: a.coordinatorSent + b.coordinatorSent,
  coordinatorReceived: a.coordinatorReceived + b.coordinatorReceived,
  brokerSent: a.brokerSent + b.brokerSent,
  brokerReceived: a.brokerReceived + b.brokerReceived,
});

/** Of what goes to the coordinator. `budgetBytes`: both ways, a day; null: none is set. */
export function withheld({ coordinatorSent, coordinatorReceived }: DayBytes, budgetBytes: number | null): Withheld[] {
  const spent = coordinatorSent + coordinatorReceived;
  if (budgetBytes === null || spent < SUMMARIES_SHARE * budgetBytes) return [];
  return spent < budgetBytes ? ["summaries"] : ["summaries", "updates"];
}

/** In UTC, as 2026-01-31. */
export const dayOf = (atMs: number): string => new Date(atMs).toISOString().slice(0, 10);
