// One device's anomaly under one kind of model, from raised to cleared; time is row time.
import type { CohortId, DeviceId } from "../../learning/ids.ts";
import { isRecent } from "./recent.ts";

export type ModelKind = "federated" | "isolation_forest" | "z_score";
export type Severity = "minor" | "major" | "critical";
export type EpisodeEvent = "raised" | "updated" | "cleared" | "acked";
export const ACK_ACTIONS = ["acknowledge", "confirm", "false_alarm", "snooze", "unsnooze", "reset_threshold"] as const;
export type AckAction = (typeof ACK_ACTIONS)[number];

/** What an operator said of an episode, last. */
export interface Ack {
  readonly action: AckAction;
  readonly atMs: number;
  /** Of a snooze. */
  readonly untilMs?: number;
  /** The episode has moved its device's threshold, which it does once, unless the threshold was put back since. */
  readonly movedThreshold: boolean;
}

export const MODEL_KINDS: readonly ModelKind[] = ["federated", "isolation_forest", "z_score"];
export const isModelKind = (text: string): text is ModelKind => MODEL_KINDS.some((kind) => kind === text);

export interface Contributor {
  readonly channel: string;
  readonly share: number;
  readonly value: number;
  readonly expected: readonly [number, number];
  readonly unit: string;
}

export interface Episode {
  readonly alertId: string;
  readonly deviceId: DeviceId;
  readonly cohort: CohortId;
  readonly kind: ModelKind;
  readonly globalVersion: number;
  readonly localSteps: number;
  readonly state: "active" | "cleared";
  readonly severity: Severity;
  /** The highest score so far, with its confidence and contributors. */
  readonly score: number;
  /** Of that score, or what an operator's word made of it since. */
  readonly threshold: number;
  /** The threshold without what operators made of it; null: they can't move it. */
  readonly ruleThreshold: number | null;
  readonly confidence: number;
  readonly contributors: readonly Contributor[];
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  /** Time of the last row over the threshold. */
  readonly lastOverAtMs: number;
  /** Channels that its last row lacked. */
  readonly missing: readonly string[];
  /** Rows over the threshold so far. */
  readonly count: number;
  readonly ack: Ack | null;
  /** The alert id of the storm that it is part of; null: it is told by itself. */
  readonly storm: string | null;
  /** Something was said of it by itself. */
  readonly announced: boolean;
}

/** What was seen of one row. */
export interface Observation {
  readonly atMs: number;
  /** The alarm after this row. */
  readonly active: boolean;
  readonly over: boolean;
  readonly score: number;
  readonly threshold: number;
  /** As an episode's. */
  readonly ruleThreshold: number | null;
  readonly confidence: number;
  readonly contributors: readonly Contributor[];
  /** Channels that the row lacks. */
  readonly missing: readonly string[];
}

export interface EpisodeState {
  readonly episode: Episode | null;
  /** Row time of the last published event of the active episode. */
  readonly publishedAtMs: number;
  readonly clearedAtMs: number | null;
  /** Which of the last five rows were over the threshold, the newest last. */
  readonly recentOver: readonly boolean[];
}

export interface EpisodeSubject {
  readonly newAlertId: () => string;
  readonly deviceId: DeviceId;
  readonly cohort: CohortId;
  readonly kind: ModelKind;
  readonly globalVersion: number;
  readonly localSteps: number;
}

export const UPDATE_INTERVAL_MS = 60_000;
export const COOLDOWN_MS = 300_000;
const RECENT_ROWS = 5;

export const quiet: EpisodeState = { episode: null, publishedAtMs: 0, clearedAtMs: null, recentOver: [] };

export interface EpisodeStep {
  readonly state: EpisodeState;
  readonly event: { readonly kind: EpisodeEvent; readonly episode: Episode } | null;
}

/**
 * An alarm raises an episode, at a row that is over; unless one was cleared less than the cooldown ago, or alerts are
 * snoozed: then with the first such row after that. A snoozed episode is not updated, but cleared.
 */
export function stepEpisode(
  before: EpisodeState,
  seen: Observation,
  subject: EpisodeSubject,
  { snoozed = false } = {},
): EpisodeStep {
  const recentOver = [...before.recentOver, seen.over].slice(-RECENT_ROWS);
  const state = { ...before, recentOver };
  if (state.episode !== null) {
    const episode = extend(state.episode, seen);
    if (!seen.active) return clearEpisode({ ...state, episode }, seen.atMs);
    return snoozed ? { state: { ...state, episode }, event: null } : updated(state, episode, seen.atMs);
  }
  const coolingDown = state.clearedAtMs !== null && isRecent(state.clearedAtMs, seen.atMs, COOLDOWN_MS);
  return seen.active && seen.over && !coolingDown && !snoozed ? raised(state, seen, subject) : { state, event: null };
}

/** Ends an active episode, whatever its scores: the alarm cleared, or its detector no longer serves. */
export function clearEpisode(state: EpisodeState, atMs: number): EpisodeStep {
  if (state.episode === null) return { state, event: null };
  const episode: Episode = {
    ...state.episode,
    state: "cleared",
    updatedAtMs: Math.max(atMs, state.episode.updatedAtMs),
  };
  return {
    state: { episode: null, publishedAtMs: atMs, clearedAtMs: atMs, recentOver: [] },
    event: { kind: "cleared", episode },
  };
}

export function severityOf(confidence: number): Severity {
  if (confidence >= 0.9) return "critical";
  return confidence >= 0.75 ? "major" : "minor";
}

function raised(state: EpisodeState, seen: Observation, subject: EpisodeSubject): EpisodeStep {
  const { newAlertId, ...about } = subject;
  const episode: Episode = {
    alertId: newAlertId(),
    ...about,
    state: "active",
    severity: severityOf(seen.confidence),
    ...peakOf(seen),
    startedAtMs: seen.atMs,
    updatedAtMs: seen.atMs,
    lastOverAtMs: seen.atMs,
    missing: seen.missing,
    count: state.recentOver.filter(Boolean).length,
    ack: null,
    storm: null,
    announced: true,
  };
  return { state: { ...state, episode, publishedAtMs: seen.atMs }, event: { kind: "raised", episode } };
}

function updated(state: EpisodeState, episode: Episode, atMs: number): EpisodeStep {
  if (atMs - state.publishedAtMs < UPDATE_INTERVAL_MS) return { state: { ...state, episode }, event: null };
  return { state: { ...state, episode, publishedAtMs: atMs }, event: { kind: "updated", episode } };
}

function extend(episode: Episode, seen: Observation): Episode {
  const peak = seen.score > episode.score ? { ...peakOf(seen), severity: severityOf(seen.confidence) } : {};
  const over = seen.over ? { lastOverAtMs: seen.atMs, count: episode.count + 1 } : {};
  return { ...episode, ...peak, updatedAtMs: seen.atMs, missing: seen.missing, ...over };
}

const peakOf = ({ score, threshold, ruleThreshold, confidence, contributors }: Observation) => ({
  score,
  threshold,
  ruleThreshold,
  confidence,
  contributors,
});
