// The gateway's episodes: stepped row by row, kept across restarts, told over MQTT and in reports.
import type { DeviceId } from "../learning/ids.ts";
import { alertMessages, CLEARED_STATE_MS, type Origin, stateTopic } from "./core/alert.ts";
import type { DeviceRecord } from "./core/device.ts";
import {
  clearEpisode,
  type Episode,
  type EpisodeState,
  type EpisodeStep,
  type EpisodeSubject,
  type ModelKind,
  type Observation,
  quiet,
  stepEpisode,
} from "./core/episode.ts";
import type { AgentStore } from "./ports/agent-store.ts";

export interface EpisodesDeps {
  readonly store: AgentStore;
  readonly origin: Origin;
  readonly newId: () => string;
  readonly nowMs: () => number;
  readonly onTransition: (episode: Episode) => void;
}

/** The row that an episode is stepped by; `record`: its device after the row. */
export interface EpisodeRow {
  readonly atMs: number;
  readonly receivedAtMs: number;
  readonly record: () => DeviceRecord;
}

const KINDS: readonly ModelKind[] = ["federated", "isolation_forest", "z_score"];

export class Episodes {
  readonly #deps: EpisodesDeps;
  readonly #states = new Map<string, EpisodeState>();

  /** Takes up the episodes that were active when the process ended. */
  constructor(deps: EpisodesDeps) {
    this.#deps = deps;
    for (const episode of deps.store.alerts.episodes()) {
      const { updatedAtMs } = episode;
      const state =
        episode.state === "active"
          ? { ...quiet, episode, publishedAtMs: updatedAtMs }
          : { ...quiet, clearedAtMs: updatedAtMs };
      this.#states.set(keyOf(episode.deviceId, episode.kind), state);
    }
  }

  /**
   * After a row was judged by `subject.kind` (null: it can't say anything yet). The device's alarm is saved with the
   * transition, so that both agree after a restart. Throws, and has not seen the row, when that can't be saved.
   */
  observe(subject: Omit<EpisodeSubject, "newAlertId">, seen: Observation | null, row: EpisodeRow): void {
    for (const kind of KINDS) if (kind !== subject.kind) this.#end(subject.deviceId, kind, row);
    if (seen === null) return;
    const key = keyOf(subject.deviceId, subject.kind);
    const step = stepEpisode(this.#states.get(key) ?? quiet, seen, { ...subject, newAlertId: this.#deps.newId });
    this.#take(key, step, row);
  }

  /** The device's rows begin anew: whatever was active is over. */
  endAll(deviceId: DeviceId, row: EpisodeRow): void {
    for (const kind of KINDS) {
      this.#end(deviceId, kind, row);
      this.#states.delete(keyOf(deviceId, kind));
    }
  }

  #end(deviceId: DeviceId, kind: ModelKind, row: EpisodeRow): void {
    const key = keyOf(deviceId, kind);
    const state = this.#states.get(key);
    if (state?.episode) this.#take(key, clearEpisode(state, row.atMs), row);
  }

  #take(key: string, { state, event }: EpisodeStep, row: EpisodeRow): void {
    if (event !== null) this.#save(event, row);
    this.#states.set(key, state); // after it is saved: what could not be is tried again with the next row
    if (event !== null) this.#deps.onTransition(event.episode);
  }

  #save(event: NonNullable<EpisodeStep["event"]>, { receivedAtMs, record }: EpisodeRow): void {
    const { store, origin, newId, nowMs } = this.#deps;
    const { episode, kind } = event;
    const topic = stateTopic(origin, episode.deviceId, episode.kind);
    store.transaction(() => {
      store.alerts.saveEpisode(episode);
      store.alerts.addMessages(alertMessages(origin, event, { id: newId(), receivedAtMs }));
      store.alerts.emptyAt(topic, kind === "cleared" ? nowMs() + CLEARED_STATE_MS : null);
      if (kind !== "updated") store.learning.saveDevices(episode.cohort, [record()]);
    });
  }
}

const keyOf = (deviceId: DeviceId, kind: ModelKind) => `${deviceId}/${kind}`;
