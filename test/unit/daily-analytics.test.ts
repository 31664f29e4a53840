import { expect, test } from "vitest";
import { type DailyAnalyticsDeps, runDailyAnalytics } from "../../coordinator/daily-analytics.ts";
import { AnalysisRunningError } from "../../coordinator/ports/analytics-store.ts";
import { createLogger } from "../../runtime/log.ts";

const DAYS = ["2026-11-22", "2026-11-23", "2026-11-25"];
const NOW_MS = Date.parse("2026-11-25T12:00:00Z");
const never = new AbortController().signal;

function deps(analyseDay: (day: string) => Promise<number>): DailyAnalyticsDeps {
  const changedDays = async () => DAYS.map((day) => ({ day, analysedAtMs: null }));
  return { analytics: { changedDays, analyseDay }, nowMs: () => NOW_MS, log: createLogger("test", "silent") };
}

test("the days that are due are analysed, one after the other", async () => {
  const asked: string[] = [];
  const done = await runDailyAnalytics(
    deps(async (day) => asked.push(day)),
    never,
  );
  expect([asked, done]).toEqual([DAYS.slice(0, 2), DAYS.slice(0, 2)]);
});

test("while somebody else analyses, the rest stays due", async () => {
  const running = deps((day) => (day === DAYS[1] ? Promise.reject(new AnalysisRunningError()) : Promise.resolve(1)));
  expect(await runDailyAnalytics(running, never)).toEqual(DAYS.slice(0, 1));
});

test("no further day is begun once the term is over", async () => {
  const term = new AbortController();
  const over = deps(async () => {
    term.abort(new Error("over"));
    return 1;
  });
  expect(await runDailyAnalytics(over, term.signal)).toEqual(DAYS.slice(0, 1));
});
