// Which days' statistics are to be made, anew or at all.

export interface DayState {
  /** In UTC, as 2026-11-25. */
  readonly day: string;
  /** Null: never. */
  readonly analysedAtMs: number | null;
}

const DAY_MS = 86_400_000;
/** A day's last windows close a minute and a half after it, and come with a report soon after. */
const SETTLE_MS = 600_000;
/** Windows that come after an outage come one after the other: the day is not taken up again for each of them. */
const AGAIN_MS = 3_600_000;

/** Of the days that changed since they were analysed: those that are over, and were not analysed within the last hour. */
export function daysDue(changed: readonly DayState[], nowMs: number): string[] {
  return changed
    .filter(({ day, analysedAtMs }) => {
      const over = nowMs >= Date.parse(day) + DAY_MS + SETTLE_MS;
      return over && (analysedAtMs === null || nowMs - analysedAtMs >= AGAIN_MS);
    })
    .map(({ day }) => day)
    .sort();
}
