// The demo in the terminal: redrawn every second on a terminal, a line an event anywhere else.
import type { AlertLine, AlertListener } from "./alerts.ts";
import type { LoopState, RoundSummary } from "./coordinator-client.ts";
import { shown, shownEvents } from "./report.ts";

export interface View {
  alert(line: AlertLine): void;
  draw(loop: LoopState, alerts: AlertListener): void;
}

const ROUNDS_SHOWN = 10;
const BAR_CHARACTERS = 30;

export function createView(out: NodeJS.WriteStream, pageUrl: string): View {
  return out.isTTY ? screenView(out, pageUrl) : lineView(out);
}

function screenView(out: NodeJS.WriteStream, pageUrl: string): View {
  const HOME_AND_CLEAR = "\x1b[H\x1b[J";
  return {
    alert: () => undefined,
    draw: (loop, alerts) => out.write(`${HOME_AND_CLEAR}${screenText(loop, alerts, pageUrl)}\n`),
  };
}

function lineView(out: NodeJS.WriteStream): View {
  let seen = 0;
  return {
    alert: (line) => out.write(`${alertText(line)}\n`),
    draw: (loop) => {
      for (const round of loop.rounds.slice(seen)) out.write(`${roundText(round)}\n`);
      seen = loop.rounds.length;
    },
  };
}

export function screenText(loop: LoopState, alerts: Pick<AlertListener, "counts" | "recent">, pageUrl: string): string {
  const { openRound, updates } = loop;
  const baselines = loop.rounds.at(-1)?.baselines;
  const filled = Math.min(BAR_CHARACTERS, Math.round((BAR_CHARACTERS * openRound.updates) / openRound.updatesWanted));
  return [
    `FLEAD demo   champion v${loop.championVersion}   learning rate ×${loop.learningRateFactor.toFixed(2)}   ${loop.gatewaysConnected} gateways   ${pageUrl}`,
    "",
    `open round   ${"█".repeat(filled)}${"·".repeat(BAR_CHARACTERS - filled)} ${openRound.updates} of ${openRound.updatesWanted} updates from ${openRound.gateways} gateways`,
    `updates      ${loop.updatesTrained} trained as last reported, ${updates.acknowledged} acknowledged, ${updates.aggregated} aggregated, ${updates.refused} refused`,
    "",
    "Rounds, each candidate measured on held-out pumps:",
    ...(loop.rounds.length === 0
      ? ["  none yet: pumps are being commissioned"]
      : loop.rounds.slice(-ROUNDS_SHOWN).map(roundText)),
    ...(baselines
      ? [
          `  always normal           F1 ${shown(baselines.alwaysNormal.f1)}   PR-AUC ${shown(baselines.alwaysNormal.prAuc)}`,
          `  always alarm            F1 ${shown(baselines.alwaysAlarm.f1)}   PR-AUC ${shown(baselines.alwaysAlarm.prAuc)}`,
          `  z-score                 F1 ${shown(baselines.zScore.f1)}   PR-AUC ${shown(baselines.zScore.prAuc)}`,
        ]
      : []),
    "",
    `Alerts over MQTT: ${alerts.counts.raised} raised (${alerts.counts.onFaultyDevices} on devices with a fault), ${alerts.counts.cleared} cleared`,
    ...alerts.recent.map(alertText),
  ].join("\n");
}

function roundText({ globalVersion, verdict, heldOut, baselines, learningRateFactor }: RoundSummary): string {
  const zScore = baselines ? `   z-score F1 ${shown(baselines.zScore.f1)}` : "";
  return (
    `  v${String(globalVersion).padEnd(4)} ${verdict.padEnd(9)}         F1 ${shown(heldOut?.f1)}   PR-AUC ${shown(heldOut?.prAuc)}` +
    `   loss ${shown(heldOut?.loss)}   rate ×${learningRateFactor.toFixed(2)}${zScore}   ${shownEvents(heldOut?.events)}`
  );
}

function alertText({ state, device, severity, model, contributors, onFaultyDevice }: AlertLine): string {
  const truth = state === "cleared" ? "" : onFaultyDevice ? "   (the device has a fault)" : "   (false alarm)";
  return `  ${state.padEnd(8)}${device.padEnd(9)}${severity.padEnd(9)}${model.padEnd(15)}${contributors.join(", ")}${truth}`;
}
