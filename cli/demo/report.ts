// The demo's report: what was measured, round by round, for people as a table and for programs as JSON.
import type { DetectionScores } from "../../learning/detection.ts";
import type { EventScores } from "../../learning/events.ts";
import type { AlertCounts } from "./alerts.ts";
import type { LoopState } from "./coordinator-client.ts";

type ReportedScores = Pick<
  DetectionScores,
  "n" | "precision" | "recall" | "f1" | "prAuc" | "loss" | "vusPr" | "events"
>;

export interface DemoReport {
  readonly seed: number;
  readonly rounds: readonly {
    readonly globalVersion: number;
    readonly verdict: string;
    readonly updates: number;
    readonly gateways: number;
    /** Null: not evaluated. */
    readonly heldOut: ReportedScores | null;
    readonly baselines: Readonly<Record<"alwaysNormal" | "alwaysAlarm" | "zScore", ReportedScores>> | null;
    readonly learningRateFactor: number;
  }[];
  readonly updates: {
    readonly trained: number;
    readonly acknowledged: number;
    /** By the rounds above. */
    readonly aggregated: number;
    readonly refused: number;
  };
  readonly alerts: AlertCounts;
}

export function makeReport(seed: number, loop: LoopState, alerts: AlertCounts): DemoReport {
  return {
    seed,
    rounds: loop.rounds.map(
      ({ globalVersion, verdict, updates, gateways, heldOut, baselines, learningRateFactor }) => ({
        globalVersion,
        verdict,
        updates,
        gateways,
        heldOut: heldOut && pick(heldOut),
        baselines: baselines && {
          alwaysNormal: pick(baselines.alwaysNormal),
          alwaysAlarm: pick(baselines.alwaysAlarm),
          zScore: pick(baselines.zScore),
        },
        learningRateFactor,
      }),
    ),
    updates: {
      trained: loop.updatesTrained,
      acknowledged: loop.updates.acknowledged,
      aggregated: loop.rounds.reduce((sum, { updates }) => sum + updates, 0),
      refused: loop.updates.refused,
    },
    alerts: { ...alerts },
  };
}

function pick({ n, precision, recall, f1, prAuc, loss, vusPr, events }: DetectionScores): ReportedScores {
  return { n, precision, recall, f1, prAuc, loss, vusPr, events };
}

/** A measured number, or that there is none. */
export const shown = (value: number | null | undefined, digits = 3) => value?.toFixed(digits) ?? "not evaluated";

/** Found of all events, and how many alarms there were for them. */
export const shownEvents = (scores: EventScores | null | undefined) =>
  scores
    ? `events ${scores.detectedEvents}/${scores.events} found, ${scores.trueEpisodes}/${scores.episodes} episodes true`
    : "events not evaluated";

export function summaryText(report: DemoReport): string {
  const { rounds, updates, alerts } = report;
  const last = rounds.at(-1);
  const lines = rounds.map(
    ({ globalVersion, verdict, updates: used, gateways, heldOut, learningRateFactor }) =>
      `  v${String(globalVersion).padEnd(4)} ${verdict.padEnd(9)} ${used} updates from ${gateways} gateways` +
      `   F1 ${shown(heldOut?.f1)}   PR-AUC ${shown(heldOut?.prAuc)}   loss ${shown(heldOut?.loss)}` +
      `   rate ×${learningRateFactor.toFixed(2)}   ${shownEvents(heldOut?.events)}`,
  );
  const baseline = (name: string, scores: ReportedScores | undefined) =>
    `  ${name.padEnd(14)} F1 ${shown(scores?.f1)}   PR-AUC ${shown(scores?.prAuc)}   ${shownEvents(scores?.events)}`;
  return [
    `Rounds (seed ${report.seed}), each candidate on ${last?.heldOut?.n ?? 0} held-out rows that nobody trained on:`,
    ...lines,
    "Trivial answers on the same rows:",
    baseline("always normal", last?.baselines?.alwaysNormal),
    baseline("always alarm", last?.baselines?.alwaysAlarm),
    baseline("z-score", last?.baselines?.zScore),
    `Updates: ${updates.trained} trained, ${updates.acknowledged} acknowledged, ${updates.aggregated} aggregated, ${updates.refused} refused`,
    `Alerts over MQTT: ${alerts.raised} raised, ${alerts.onFaultyDevices} of them on devices with a fault, ${alerts.cleared} cleared`,
    "",
  ].join("\n");
}
