// What a report tells of devices' windows; what can't be kept, or is more than a gateway may write, is refused.
import { cohortId } from "../../../learning/ids.ts";
import type { WindowSummaries } from "../../../proto/gen/flead/v1/federation.ts";
import { type CheckedWindow, checkWindow, refuseChannels } from "../../core/check-windows.ts";
import { RowBudget } from "../../core/row-budget.ts";
import type { Gateway, ProblemKind, SessionDeps } from "./deps.ts";
import { bounded } from "./held-cohorts.ts";

const MAX_DEVICES_A_REPORT = 2_000;
/** A row is one channel in one window. 2,000 devices of 8 channels tell 32,000 a minute; the rest is for an agent's backlog. */
const MAX_ROWS_A_REPORT = 25_000;
const MAX_ROWS_A_MINUTE = 300_000;

type WindowProblem = Extract<ProblemKind, `window_${string}`>;

/** Reads the windows of one report after the other; refused ones are counted by kind, and the rest stands. */
export function windowReader({ problems, windowsKeptMs }: Pick<SessionDeps, "problems" | "windowsKeptMs">) {
  const budget = new RowBudget(MAX_ROWS_A_MINUTE);
  return ({ gatewayId }: Gateway, summaries: readonly WindowSummaries[], nowMs: number): CheckedWindow[] => {
    const rows: CheckedWindow[] = [];
    const devices = new Set<string>();
    const refuse = (kind: WindowProblem, device: string, why: string) =>
      problems.report(kind, `gateway ${gatewayId} device ${bounded(device)}`, why);
    const keep = (checked: readonly CheckedWindow[], device: string) => {
      devices.add(device);
      if (devices.size > MAX_DEVICES_A_REPORT || rows.length + checked.length > MAX_ROWS_A_REPORT) {
        const allowed = `${MAX_DEVICES_A_REPORT} devices and ${MAX_ROWS_A_REPORT} rows`;
        refuse("window_limit", device, `a report has windows of at most ${allowed}`);
      } else if (!budget.take(gatewayId, checked.length, nowMs)) {
        refuse("window_limit", device, `a gateway has at most ${MAX_ROWS_A_MINUTE} rows of windows a minute`);
      } else rows.push(...checked);
    };
    for (const { windows, channels, windowMs, cohort } of summaries) {
      const context = contextOf(cohort, { channels, windowMs, nowMs, keptMs: windowsKeptMs });
      for (const window of windows) {
        const checked = "refused" in context ? context : checkWindow(window, context);
        if ("refused" in checked) refuse(checked.refused, window.deviceId, checked.detail);
        else keep(checked, window.deviceId);
      }
    }
    return rows;
  };
}

type Told = { readonly channels: readonly string[]; readonly windowMs: number; nowMs: number; keptMs: number };

function contextOf(cohort: string, told: Told) {
  try {
    return refuseChannels(told.channels, told.windowMs) ?? { ...told, cohort: cohortId(cohort) };
  } catch (error) {
    return { refused: "window_malformed" as const, detail: (error as Error).message };
  }
}
