// Between the agent's words and the wire's.
import { cohortId, planId } from "../../learning/ids.ts";
import { DELTA_ENCODING } from "../../proto/delta-encoding.ts";
import {
  type SessionRequest,
  type SessionResponse,
  type Episode as WireEpisode,
  UpdateStatus as WireStatus,
  type Trial as WireTrial,
} from "../../proto/gen/flead/v1/federation.ts";
import { decodeWeights } from "../../proto/weights.ts";
import type { Episode } from "../core/episode.ts";
import type { Measure, Trial } from "../core/try-model.ts";
import type {
  CohortHeld,
  CohortStatistics,
  FromCoordinator,
  Hello,
  Report,
  ToCoordinator,
  Update,
  UpdateStatus,
  WindowSummaries,
} from "../ports/coordinator-link.ts";

export function wireHello(hello: Hello): SessionRequest {
  const { gatewayId, agentVersion, site } = hello;
  return { message: { $case: "hello", value: { gatewayId, agentVersion, site, cohorts: wireCohorts(hello.cohorts) } } };
}

function wireCohorts(cohorts: Hello["cohorts"]) {
  return cohorts.map((held) => ({
    cohort: held.cohort,
    planId: held.planId ?? "",
    globalVersion: BigInt(held.globalVersion),
    devices: [...held.devices],
    candidate: held.candidate === null ? undefined : wireCandidate(held.candidate),
    previousVersion: BigInt(held.previousVersion ?? 0),
  }));
}

function wireCandidate({ globalVersion, trial }: NonNullable<CohortHeld["candidate"]>) {
  return { globalVersion: BigInt(globalVersion), trial: trial === null ? undefined : wireTrial(trial) };
}

function wireTrial({ measure, rows, change, labelledRows, labelledChange }: Trial): WireTrial {
  return {
    rows,
    change: change === null ? undefined : wireChange(measure, change),
    labelledRows,
    labelledDifference: labelledChange ?? undefined,
  };
}

const wireChange = (measure: Measure, change: number): WireTrial["change"] =>
  measure === "ratio" ? { $case: "ratio", value: change } : { $case: "difference", value: change };

export function wireMessage(message: ToCoordinator): SessionRequest {
  switch (message.kind) {
    case "update":
      return { message: { $case: "update", value: wireUpdate(message.update) } };
    case "feedbackAcknowledgement": {
      const { cohort, globalVersion, learningRateFactor } = message.acknowledgement;
      const value = { cohort, globalVersion: BigInt(globalVersion), learningRateFactor };
      return { message: { $case: "feedbackAcknowledgement", value } };
    }
    case "report":
      return { message: { $case: "report", value: wireReport(message.report) } };
  }
}

export const wireHeartbeat = (nowMs: number): SessionRequest => ({
  message: { $case: "heartbeat", value: { sentAtMs: BigInt(nowMs) } },
});

function wireUpdate(update: Update) {
  return {
    ...update,
    baseVersion: BigInt(update.baseVersion),
    localSteps: BigInt(update.localSteps),
    samples: BigInt(update.samples),
    encoding: DELTA_ENCODING[update.encoding],
    roundId: BigInt(update.roundId ?? 0), // an earlier version's updates in the outbox lack it
    delta: Buffer.from(update.delta),
  };
}

function wireReport({ reportId, episodes, health, clock, cohorts, statistics, summaries }: Report) {
  return {
    reportId,
    clock,
    cohorts: wireCohorts(cohorts),
    episodes: episodes.map(wireEpisode),
    statistics: statistics.map(wireStatistics),
    summaries: summaries.map(wireSummaries),
    health: {
      rows: BigInt(health.rows),
      rowsRefused: BigInt(health.rowsRefused),
      updatesTrained: BigInt(health.updatesTrained),
      samplesTrained: BigInt(health.samplesTrained),
      outboxBytes: BigInt(health.outboxBytes),
      outboxDropped: BigInt(health.outboxDropped),
      rssBytes: BigInt(health.rssBytes),
      windowsDropped: BigInt(health.windowsDropped),
      quarantinedFiles: BigInt(health.quarantinedFiles),
      storeBytes: BigInt(health.storeBytes),
      flashWrittenToday: health.flashWrittenToday === null ? undefined : BigInt(health.flashWrittenToday),
      carriedToday: BigInt(health.carriedToday),
      summariesWithheld: health.withheld.includes("summaries"),
      updatesWithheld: health.withheld.includes("updates"),
    },
  };
}

function wireSummaries({ cohort, windowMs, channels, windows }: WindowSummaries) {
  return {
    cohort,
    windowMs,
    channels: [...channels],
    windows: windows.map(({ deviceId, startMs, anomaly, lateRows, ...lists }) => ({
      deviceId,
      startMs: BigInt(startMs),
      anomalyConfidence: anomaly ?? undefined,
      lateRows,
      counts: [...lists.counts],
      means: [...lists.means],
      deviations: [...lists.deviations],
      minima: [...lists.minima],
      maxima: [...lists.maxima],
      last: [...lists.last],
      z: [...lists.z],
    })),
  };
}

function wireStatistics({ cohort, planId: plan, globalVersion, devices, scales, ratios }: CohortStatistics) {
  return {
    cohort,
    planId: plan,
    globalVersion: BigInt(globalVersion),
    devices,
    scales: [...(scales ?? [])],
    ratios: Buffer.from(ratios?.serialise() ?? []),
  };
}

function wireEpisode(episode: Episode): WireEpisode {
  return {
    alertId: episode.alertId,
    deviceId: episode.deviceId,
    cohort: episode.cohort,
    modelKind: episode.kind,
    globalVersion: BigInt(episode.globalVersion),
    state: episode.state,
    severity: episode.severity,
    score: episode.score,
    threshold: episode.threshold,
    confidence: episode.confidence,
    startedAtMs: BigInt(episode.startedAtMs),
    updatedAtMs: BigInt(episode.updatedAtMs),
    count: BigInt(episode.count),
    contributors: episode.contributors.map(
      ({ channel, share, value, expected: [expectedLow, expectedHigh], unit }) => ({
        channel,
        share,
        value,
        expectedLow,
        expectedHigh,
        unit,
      }),
    ),
  };
}

const STATUS: Readonly<Record<WireStatus, UpdateStatus | null>> = {
  [WireStatus.UNSPECIFIED]: null,
  [WireStatus.ACCEPTED]: "accepted",
  [WireStatus.KNOWN]: "known",
  [WireStatus.REFUSED]: "refused",
  [WireStatus.RETRY]: "retry",
};

/** Null for what needs no answer and for what a later minor version may have added. */
export function readResponse({ message }: SessionResponse): FromCoordinator | null {
  try {
    return message === undefined ? null : readMessage(message);
  } catch (error) {
    return { kind: "unusable", what: `${message?.$case}: ${(error as Error).message}` };
  }
}

function readMessage(message: NonNullable<SessionResponse["message"]>): FromCoordinator | null {
  switch (message.$case) {
    case "planChanged":
      return { kind: "planChanged", cohort: cohortId(message.value.cohort), planId: planId(message.value.planId) };
    case "globalModel": {
      const { weights, trained, learningRateFactor, scales, thresholdFactor, trainWhenInvited } = message.value;
      return {
        kind: "globalModel",
        cohort: cohortId(message.value.cohort),
        planId: planId(message.value.planId),
        globalVersion: Number(message.value.globalVersion),
        weights: decodeWeights(weights, Math.floor(weights.byteLength / 4)),
        trained,
        learningRateFactor: learningRateFactor || null,
        trainWhenInvited,
        fleet: {
          scales: scales.length > 0 ? Float64Array.from(scales) : null,
          thresholdFactor: thresholdFactor ?? null,
        },
      };
    }
    case "feedback": {
      const { promoted, learningRateFactor, reason } = message.value;
      const globalVersion = Number(message.value.globalVersion);
      return {
        kind: "feedback",
        cohort: cohortId(message.value.cohort),
        planId: message.value.planId === "" ? null : planId(message.value.planId),
        globalVersion,
        promoted,
        learningRateFactor,
        reason,
      };
    }
    case "invitation": {
      const { roundId, baseVersion, deadlineMs } = message.value;
      const cohort = cohortId(message.value.cohort);
      return { kind: "invitation", cohort, roundId: Number(roundId), baseVersion: Number(baseVersion), deadlineMs };
    }
    case "updateResult": {
      const { updateId, reason, retryAfterMs } = message.value;
      const status = STATUS[message.value.status] ?? null;
      return status === null ? null : { kind: "updateResult", updateId, status, reason, retryAfterMs };
    }
    case "reportResult":
      return { kind: "reportResult", reportId: message.value.reportId };
    case "command":
      return readCommand(message.value.action);
    default:
      return null;
  }
}

type Action = Extract<NonNullable<SessionResponse["message"]>, { $case: "command" }>["value"]["action"];

function readCommand(action: Action): FromCoordinator | null {
  switch (action?.$case) {
    case "sendReport":
      return { kind: "sendReport" };
    case "drain":
      return { kind: "drain", reconnectAfterMs: action.value.reconnectAfterMs };
    case "activateModel": {
      const { cohort, globalVersion } = action.value;
      return { kind: "activateModel", cohort: cohortId(cohort), globalVersion: Number(globalVersion) };
    }
    case "rollBackModel":
      return { kind: "rollBackModel", cohort: cohortId(action.value.cohort) };
    default:
      return null;
  }
}
