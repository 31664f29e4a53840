// Many devices of a gateway that raise together are told as one storm, from raised to cleared; time is row time.
import type { DeviceId } from "../../learning/ids.ts";
import { type Episode, type Severity, severityOf, UPDATE_INTERVAL_MS } from "./episode.ts";

/** Episodes of more than this share of the gateway's devices, raised within a minute, are a storm. */
export const STORM_SHARE = 0.2;
/** Fewer devices than these are told one by one, however few there are. */
const FEWEST_DEVICES = 3;
const WITHIN_MS = 60_000;
const NAMED_DEVICES = 100;

export interface Storm {
  readonly alertId: string;
  readonly state: "active" | "cleared";
  /** Of its most certain episode. */
  readonly severity: Severity;
  readonly confidence: number;
  /** The largest share of the gateway's devices that were in it at a time. */
  readonly share: number;
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  /** Episodes that joined so far. */
  readonly count: number;
  /** Of the first 100 of those. */
  readonly devices: readonly DeviceId[];
}

export type StormMember = Pick<Episode, "alertId" | "deviceId" | "kind" | "startedAtMs" | "confidence">;

export interface StormState {
  readonly storm: Storm | null;
  /** Row time of the last event of the active storm. */
  readonly publishedAtMs: number;
  /** Active episodes of the last minute that are in no storm. */
  readonly recent: readonly StormMember[];
  /** The storm's active episodes, by alert id. */
  readonly members: ReadonlyMap<string, StormMember>;
}

export interface StormEvent {
  readonly kind: "raised" | "updated" | "cleared";
  readonly storm: Storm;
}

export interface StormStep {
  readonly state: StormState;
  readonly event: StormEvent | null;
  /** Episodes that have become part of the storm. */
  readonly joined: readonly StormMember[];
}

export const calm: StormState = { storm: null, publishedAtMs: 0, recent: [], members: new Map() };

/** A storm that goes on after a restart. */
export const stormOf = (storm: Storm, members: readonly StormMember[]): StormState => ({
  storm,
  publishedAtMs: storm.updatedAtMs,
  recent: [],
  members: byAlert(members),
});

export interface StormGateway {
  /** How many the gateway serves. */
  readonly devices: number;
  readonly newAlertId: () => string;
}

/**
 * An episode is raised. It joins the storm as long as that holds more than the share; else it stands by itself, until those
 * of the last minute are more than the share.
 */
export function stormAfterRaise(before: StormState, raised: StormMember, gateway: StormGateway): StormStep {
  if (before.storm !== null && isMany([...before.members.values()], gateway)) return join(before, [raised], gateway);
  const fresh = before.recent.filter(({ startedAtMs }) => Math.abs(raised.startedAtMs - startedAtMs) < WITHIN_MS);
  const recent = [...fresh, raised];
  if (!isMany(recent, gateway)) return { state: { ...before, recent }, event: null, joined: [] };
  return join({ ...before, recent: [] }, recent, gateway);
}

/** An episode is cleared; with its last one the storm is over. */
export function stormAfterClear(before: StormState, alertId: string, atMs: number): StormStep {
  const recent = before.recent.filter((member) => member.alertId !== alertId);
  if (before.storm === null || !before.members.has(alertId)) {
    return { state: { ...before, recent }, event: null, joined: [] };
  }
  const members = new Map(before.members);
  members.delete(alertId);
  const storm: Storm = { ...before.storm, updatedAtMs: Math.max(atMs, before.storm.updatedAtMs) };
  if (members.size > 0) return { state: { ...before, storm, recent, members }, event: null, joined: [] };
  return { state: { ...calm, recent }, event: { kind: "cleared", storm: { ...storm, state: "cleared" } }, joined: [] };
}

function join(before: StormState, joined: readonly StormMember[], gateway: StormGateway): StormStep {
  const members = new Map([...before.members, ...byAlert(joined)]);
  const atMs = Math.max(...joined.map(({ startedAtMs }) => startedAtMs));
  const share = devicesOf([...members.values()]).size / gateway.devices;
  const storm = extend(before.storm ?? newStorm(gateway.newAlertId(), joined), joined, share);
  const isNew = before.storm === null;
  if (!isNew && atMs - before.publishedAtMs < UPDATE_INTERVAL_MS) {
    return { state: { ...before, storm, members }, event: null, joined };
  }
  const state = { ...before, storm, members, publishedAtMs: atMs };
  return { state, event: { kind: isNew ? "raised" : "updated", storm }, joined };
}

const newStorm = (alertId: string, joined: readonly StormMember[]): Storm => ({
  alertId,
  state: "active",
  severity: "minor",
  confidence: 0,
  share: 0,
  startedAtMs: Math.min(...joined.map(({ startedAtMs }) => startedAtMs)),
  updatedAtMs: Number.NEGATIVE_INFINITY,
  count: 0,
  devices: [],
});

function extend(storm: Storm, joined: readonly StormMember[], share: number): Storm {
  const confidence = Math.max(storm.confidence, ...joined.map((member) => member.confidence));
  return {
    ...storm,
    confidence,
    severity: severityOf(confidence),
    share: Math.max(storm.share, share),
    updatedAtMs: Math.max(storm.updatedAtMs, ...joined.map(({ startedAtMs }) => startedAtMs)),
    count: storm.count + joined.length,
    devices: [...new Set([...storm.devices, ...devicesOf(joined)])].slice(0, NAMED_DEVICES),
  };
}

function isMany(members: readonly StormMember[], { devices }: StormGateway): boolean {
  const among = devicesOf(members).size;
  return among >= FEWEST_DEVICES && among > STORM_SHARE * devices;
}

const devicesOf = (members: readonly StormMember[]) => new Set(members.map(({ deviceId }) => deviceId));

const byAlert = (members: readonly StormMember[]) => new Map(members.map((member) => [member.alertId, member]));
