// A report arrives: episodes, health, statistics and windows, checked and committed before it is answered.
import { deviceId } from "../../../learning/ids.ts";
import type { Episode, Report, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { within } from "../../../runtime/retry.ts";
import type { ReportedEpisode } from "../../ports/gateway-store.ts";
import { DATABASE_ANSWER_MS, type Gateway, type SessionDeps } from "./deps.ts";
import { bounded, heldCohorts } from "./held-cohorts.ts";
import { respond } from "./messages.ts";
import { reportedStatistics } from "./statistics.ts";
import { windowReader } from "./windows.ts";

const MAX_EPISODES = 5_000;
const MAX_CONTRIBUTORS = 16;
const STATES = ["active", "cleared"] as const;
const SEVERITIES = ["minor", "major", "critical"] as const;
const MODEL_KINDS = ["federated", "isolation_forest", "z_score"] as const;
const CLOCKS = ["unsynchronised", "stepped", "synced"] as const;
const ALERT_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/;
/** Last instant a JavaScript date can hold. */
const MAX_TIME_MS = 8.64e15;

/** What can't be used of it is counted and left out; the rest of the report stands. Null: it could not be stored; send it again. */
export const addReport = (deps: SessionDeps) => {
  const readWindows = windowReader(deps);
  return async (gateway: Gateway, report: Report): Promise<SessionResponse | null> => {
    const episodes = report.episodes.slice(0, MAX_EPISODES).flatMap((episode) => {
      try {
        return [checkEpisode(episode)];
      } catch (error) {
        deps.problems.report(
          "report_refused",
          `gateway ${gateway.gatewayId} episode ${episode.alertId}`,
          (error as Error).message,
        );
        return [];
      }
    });
    const statistics = reportedStatistics(deps, gateway, report.statistics);
    const health = report.health && {
      ...Object.fromEntries(Object.entries(report.health).map(([name, value]) => [name, Number(value)])),
      clock: CLOCKS.find((quality) => quality === report.clock) ?? null,
    };
    const windows = readWindows(gateway, report.summaries, Date.now());
    try {
      const cohorts = heldCohorts(report.cohorts);
      const { gatewayId } = gateway;
      const kept = { gatewayId, episodes, cohorts, statistics, health: health ?? null, windows };
      await within(DATABASE_ANSWER_MS, deps.reports.add(kept));
      for (const { cohort, planId } of cohorts) if (gateway.cohorts.has(cohort)) gateway.cohorts.set(cohort, planId);
    } catch (error) {
      deps.problems.report(
        "database",
        `report of ${gateway.gatewayId}`,
        `it could not be stored: ${(error as Error).message}`,
      );
      return null;
    }
    return respond({ $case: "reportResult", value: { reportId: report.reportId.slice(0, 64) } });
  };
};

function checkEpisode(episode: Episode): ReportedEpisode {
  if (!ALERT_ID.test(episode.alertId)) throw new Error("its alert id is not a ULID");
  return {
    alertId: episode.alertId,
    deviceId: deviceId(episode.deviceId),
    cohort: bounded(episode.cohort),
    modelKind: oneOf("model kind", MODEL_KINDS, episode.modelKind),
    globalVersion: Number(episode.globalVersion),
    state: oneOf("state", STATES, episode.state),
    severity: oneOf("severity", SEVERITIES, episode.severity),
    score: finite("score", episode.score),
    threshold: finite("threshold", episode.threshold),
    confidence: finite("confidence", episode.confidence),
    contributors: episode.contributors.slice(0, MAX_CONTRIBUTORS).map((c) => ({
      channel: bounded(c.channel),
      share: finite("share", c.share),
      value: finite("value", c.value),
      expected: [finite("expected", c.expectedLow), finite("expected", c.expectedHigh)],
      unit: bounded(c.unit),
    })),
    count: Number(episode.count),
    startedAtMs: time("start", episode.startedAtMs),
    updatedAtMs: time("update", episode.updatedAtMs),
  };
}

function oneOf<T extends string>(what: string, allowed: readonly T[], given: string): T {
  const found = allowed.find((value) => value === given);
  if (found === undefined)
    throw new Error(`${what} ${JSON.stringify(given.slice(0, 40))}; allowed are ${allowed.join(", ")}`);
  return found;
}

function finite(what: string, value: number): number {
  if (!Number.isFinite(value)) throw new Error(`its ${what} is ${value}, not a finite number`);
  return value;
}

function time(what: string, value: bigint): number {
  if (value > MAX_TIME_MS) throw new Error(`its ${what} time ${value} is beyond any date`);
  return Number(value);
}
