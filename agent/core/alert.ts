// What the agent says over MQTT: topics, and CloudEvents 1.0 in structured JSON.
import type { CohortId, DeviceId, GatewayId } from "../../learning/ids.ts";
import type { ClockQuality } from "./clock.ts";
import type { Ack, Episode, EpisodeEvent, ModelKind } from "./episode.ts";
import { STORM_SHARE, type StormEvent } from "./storm.ts";

export interface Origin {
  readonly site: string;
  readonly gatewayId: GatewayId;
  /** Topic prefix of the events for other consumers; null: off. */
  readonly alertPrefix: string | null;
}

export interface OutgoingMessage {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
}

/** A cleared state stays on its retained topic this long, then the topic is emptied. */
export const CLEARED_STATE_MS = 3_600_000;
/** A row older than this when it came is late. */
const LATE_MS = 60_000;

export const baseTopic = ({ site, gatewayId }: Origin) => `flead/v1/${site}/${gatewayId}`;
export const stateTopic = (origin: Origin, device: DeviceId, kind: ModelKind) =>
  `${baseTopic(origin)}/alert/${device}/${kind}`;
/** The gateway stands where the device does, so that who listens to all alerts hears of storms. */
export const stormTopic = (origin: Origin) => `${baseTopic(origin)}/alert/${origin.gatewayId}/storm`;
export const statusTopic = (origin: Origin) => `${baseTopic(origin)}/status`;

const SEVERITY_TEXT = { minor: "WARN", major: "WARN", critical: "ERROR" } as const;

const severityText = ({ state, severity }: Pick<Episode, "state" | "severity">) =>
  state === "cleared" ? "INFO" : SEVERITY_TEXT[severity];

interface CloudEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly atMs: number;
  readonly severityText?: string;
  readonly data: object;
}

function cloudEvent({ id, type, source, atMs, severityText, data }: CloudEvent): string {
  return JSON.stringify({
    specversion: "1.0",
    id,
    type,
    source,
    time: new Date(atMs).toISOString(),
    ...(severityText === undefined ? {} : { severitytext: severityText }),
    datacontenttype: "application/json",
    data,
  });
}

/**
 * The messages of one transition: the retained state, the event, and the event under the prefix. `isLast` false: a later
 * episode has the state's topic.
 */
export function alertMessages(
  origin: Origin,
  event: { readonly kind: EpisodeEvent; readonly episode: Episode },
  {
    id,
    receivedAtMs,
    clock,
    isLast = true,
  }: { readonly id: string; readonly receivedAtMs: number; readonly clock: ClockQuality; readonly isLast?: boolean },
): OutgoingMessage[] {
  const { kind, episode } = event;
  const acked = kind === "acked" ? episode.ack : null;
  const payload = cloudEvent({
    id,
    type: `flead.anomaly.${kind}.v1`,
    source: `/${origin.site}/${origin.gatewayId}/${episode.deviceId}`,
    atMs: acked?.atMs ?? episode.updatedAtMs,
    severityText: severityText(episode),
    data: alertData(episode, { clock, late: acked === null && receivedAtMs - episode.updatedAtMs > LATE_MS }),
  });
  const message = (topic: string, retain: boolean) => ({ topic, payload, retain });
  return [
    ...(isLast ? [message(stateTopic(origin, episode.deviceId, episode.kind), true)] : []),
    message(`${baseTopic(origin)}/event/${episode.deviceId}/${episode.kind}`, false),
    ...(origin.alertPrefix === null ? [] : [message(`${origin.alertPrefix}/${episode.deviceId}`, false)]),
  ];
}

/** The messages of a transition of the gateway's storm, as those of an episode. */
export function stormMessages(
  origin: Origin,
  { kind, storm }: StormEvent,
  { id, active, clock }: { readonly id: string; readonly active: number; readonly clock: ClockQuality },
): OutgoingMessage[] {
  const payload = cloudEvent({
    id,
    type: `flead.anomaly.${kind}.v1`,
    source: `/${origin.site}/${origin.gatewayId}`,
    atMs: storm.updatedAtMs,
    severityText: severityText(storm),
    data: {
      alert_id: storm.alertId,
      state: storm.state,
      severity: storm.severity,
      score: storm.share,
      threshold: STORM_SHARE,
      confidence: storm.confidence,
      started_at: new Date(storm.startedAtMs).toISOString(),
      count: storm.count,
      active,
      devices: storm.devices,
      contributors: [],
      quality: { clock, late: false, missing: [] },
      model: { kind: "storm", global_version: 0, local_steps: 0 },
      ack: null,
    },
  });
  const message = (topic: string, retain: boolean) => ({ topic, payload, retain });
  return [
    message(stormTopic(origin), true),
    message(`${baseTopic(origin)}/event/${origin.gatewayId}/storm`, false),
    ...(origin.alertPrefix === null ? [] : [message(`${origin.alertPrefix}/${origin.gatewayId}`, false)]),
  ];
}

function alertData(episode: Episode, quality: { readonly clock: ClockQuality; readonly late: boolean }) {
  return {
    alert_id: episode.alertId,
    state: episode.state,
    severity: episode.severity,
    score: episode.score,
    threshold: episode.threshold,
    confidence: episode.confidence,
    started_at: new Date(episode.startedAtMs).toISOString(),
    count: episode.count,
    contributors: episode.contributors,
    quality: { ...quality, missing: episode.missing },
    model: { kind: episode.kind, global_version: episode.globalVersion, local_steps: episode.localSteps },
    ack: episode.ack && ackData(episode.ack),
  };
}

const ackData = ({ action, atMs, untilMs }: Ack) => ({
  action,
  at: new Date(atMs).toISOString(),
  ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
});

/** A training step, an activated model, or one that is kept beside it. */
export function modelMessage(
  origin: Origin,
  what: "trained" | "activated" | "candidate",
  stamp: { readonly id: string; readonly atMs: number },
  data: { readonly cohort: CohortId } & Readonly<Record<string, unknown>>,
): OutgoingMessage {
  const source = `/${origin.site}/${origin.gatewayId}`;
  return {
    topic: `${baseTopic(origin)}/model/${what}`,
    payload: cloudEvent({ ...stamp, type: `flead.model.${what}.v1`, source, data }),
    retain: false,
  };
}

/** The broker sends it as it was when the connection began: its time is not when the gateway was lost. */
export const lastWill = (
  origin: Origin,
  version: string,
  stamp: { readonly id: string; readonly atMs: number },
): OutgoingMessage =>
  statusMessage(origin, "offline", stamp, {
    agent_version: version,
    reason: "connection lost",
    connected_at: new Date(stamp.atMs).toISOString(),
  });

export function statusMessage(
  origin: Origin,
  state: "online" | "offline",
  stamp: { readonly id: string; readonly atMs: number },
  data: Readonly<Record<string, unknown>>,
): OutgoingMessage {
  const source = `/${origin.site}/${origin.gatewayId}`;
  const payload = cloudEvent({ ...stamp, type: `flead.gateway.${state}.v1`, source, data: { state, ...data } });
  return { topic: statusTopic(origin), payload, retain: true };
}
