// One of the leader's duties: the statistics of days that are over, and of days that changed since theirs were made.
import type { Logger } from "../runtime/log.ts";
import { daysDue } from "./core/days-due.ts";
import type { Duty } from "./leader.ts";
import { AnalysisRunningError, type AnalyticsStore } from "./ports/analytics-store.ts";

const EVERY_MS = 300_000;

export interface DailyAnalyticsDeps {
  readonly analytics: Pick<AnalyticsStore, "changedDays" | "analyseDay">;
  readonly nowMs: () => number;
  readonly log: Logger;
}

export const dailyAnalyticsDuty = (deps: DailyAnalyticsDeps): Duty => ({
  name: "make the statistics of days",
  everyMs: EVERY_MS,
  run: async (signal) => {
    await runDailyAnalytics(deps, signal);
  },
});

/** Makes the statistics of each day that is due, and resolves with those days; what is left when `signal` aborts stays due. */
export async function runDailyAnalytics(deps: DailyAnalyticsDeps, signal: AbortSignal): Promise<string[]> {
  const { analytics, nowMs, log } = deps;
  const done: string[] = [];
  for (const day of daysDue(await analytics.changedDays(), nowMs())) {
    if (signal.aborted) break;
    try {
      const series = await analytics.analyseDay(day, signal);
      log.info({ day, series }, "the day's statistics are made");
      done.push(day);
    } catch (error) {
      if (error instanceof AnalysisRunningError || signal.aborted) break; // somebody asked for a day, or the term is over: the rest stays due
      throw error;
    }
  }
  return done;
}
