// One of the leader's duties: the statistics of days that are over, and of days that changed since theirs were made.
import type { Logger } from "../runtime/log.ts";
import { pause } from "../runtime/retry.ts";
import { daysDue } from "./core/days-due.ts";
import { AnalysisRunningError, type AnalyticsStore } from "./ports/analytics-store.ts";

const LOOK_EVERY_MS = 300_000;

export interface DailyAnalyticsDeps {
  readonly analytics: Pick<AnalyticsStore, "changedDays" | "analyseDay">;
  readonly nowMs: () => number;
  readonly log: Logger;
}

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

/** Looks for days that are due until `signal` aborts. Never rejects. */
export async function keepDailyAnalytics(deps: DailyAnalyticsDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await runDailyAnalytics(deps, signal).catch((error: Error) => {
      if (!signal.aborted) deps.log.error({ err: error }, "daily statistics could not be made; they are tried again");
    });
    await pause(LOOK_EVERY_MS, signal);
  }
}
