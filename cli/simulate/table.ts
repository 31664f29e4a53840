// A simulation's figures as lines of text.
import type { Figures } from "./run.ts";
import type { SimulationSettings } from "./settings.ts";

const digits = (value: number | null | undefined, count = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: count, maximumFractionDigits: count });

export function describe({ cohort, processes, inFlight }: SimulationSettings, figures: Figures): string[] {
  const { counts, latencyMs, plan } = figures;
  const newest = figures.champions.at(-1);
  const made = plan && `${digits(plan.parameters)} parameters as ${plan.encoding}, ${digits(plan.updateBytes)} bytes`;
  const lines: [string, string][] = [
    ["fleet", `${digits(figures.gateways)} gateways of ${cohort} in ${processes} processes, ${inFlight} in flight`],
    ["update", made ?? "–"],
    ["sessions", sessions(figures)],
    ["acknowledged", `${digits(figures.acknowledged)} updates, ${digits(counts.samplesAcknowledged)} samples`],
    [
      "",
      `${digits(counts.accepted)} accepted, ${digits(counts.known)} known, ${digits(figures.unanswered)} unanswered`,
    ],
    ["not stored", `${digits(counts.refused)} refused, ${digits(counts.toldToRetry)} told to retry`],
    ["sent", `${digits(counts.updatesSent)}, ${digits(counts.updatesSentAgain)} of them again`],
    ["held back", `${digits(counts.updatesHeldBack)}: as many as allowed were unanswered, or no session yet`],
    ["rate", `${digits(figures.updatesPerSecond, 1)} acknowledged a second over ${digits(figures.seconds, 1)} s`],
    [
      "answered after",
      `p50 ${digits(latencyMs?.p50, 1)} ms, p99 ${digits(latencyMs?.p99, 1)} ms, at most ${digits(latencyMs?.max, 1)} ms`,
    ],
    ["bytes an update", `${digits(figures.bytesSentAnUpdate)} sent, ${digits(figures.bytesReceivedAnUpdate)} received`],
    ["CPU an update", `${digits(figures.cpuMsAnUpdate, 3)} ms in this generator`],
    ["champions", `${digits(counts.championsReceived)} received, ${digits(counts.feedback)} feedback`],
  ];
  if (newest)
    lines.push(["the newest", `version ${newest.version} at ${digits(newest.sessions)} sessions, ${delivery(newest)}`]);
  if (figures.lastRefusal !== null) lines.push(["last refusal", figures.lastRefusal]);
  return lines.map(([what, text]) => `${what.padEnd(16)} ${text}`);
}

function sessions({ connected, connectSeconds, counts }: Figures): string {
  const { sessionsLost, attemptsFailed, drains } = counts;
  return (
    `${digits(connected)} ready after ${digits(connectSeconds, 1)} s, ${digits(sessionsLost)} lost, ` +
    `${digits(attemptsFailed)} attempts failed, ${digits(drains)} drained`
  );
}

function delivery({ spreadMs, afterCloseMs }: Figures["champions"][number]): string {
  const spread = `${digits(spreadMs)} ms from the first to the last`;
  if (afterCloseMs === null) return spread;
  const { mean, last } = afterCloseMs;
  return `${spread}; after the round's close ${digits(mean)} ms on average, ${digits(last)} ms the last`;
}
