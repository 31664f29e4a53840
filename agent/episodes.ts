// The gateway's episodes and its storm: stepped row by row, kept across restarts, told over MQTT and in reports.
import type { DeviceId } from "../learning/ids.ts";
import { alertMessages, CLEARED_STATE_MS, type Origin, stateTopic, stormMessages, stormTopic } from "./core/alert.ts";
import type { DeviceRecord } from "./core/device.ts";
import {
  type Ack,
  clearEpisode,
  type Episode,
  type EpisodeState,
  type EpisodeStep,
  type EpisodeSubject,
  MODEL_KINDS,
  type ModelKind,
  type Observation,
  quiet,
  stepEpisode,
} from "./core/episode.ts";
import type { AlertWord } from "./core/labels.ts";
import { calm, type StormState, type StormStep, stormAfterClear, stormAfterRaise, stormOf } from "./core/storm.ts";
import type { AgentStore, Snooze } from "./ports/agent-store.ts";
import type { GatewayClock } from "./ports/clock.ts";
import { Snoozes } from "./snoozes.ts";

export interface EpisodesDeps {
  readonly store: AgentStore;
  readonly origin: Origin;
  /** How many the gateway serves. */
  readonly devices: () => number;
  readonly newId: () => string;
  readonly clock: Pick<GatewayClock, "steadyMs" | "quality">;
  readonly onTransition: (episode: Episode) => void;
}

/** The row that an episode is stepped by; `record`: its device after the row. */
export interface EpisodeRow {
  readonly atMs: number;
  readonly receivedAtMs: number;
  readonly record: () => DeviceRecord;
}

export class Episodes {
  readonly #deps: EpisodesDeps;
  readonly #states = new Map<string, EpisodeState>();
  /** The alert id of the last episode of each device and model. */
  readonly #last = new Map<string, string>();
  readonly #snoozes: Snoozes;
  #storm: StormState;

  /** Takes up the episodes and the storm that were active when the process ended. */
  constructor(deps: EpisodesDeps) {
    this.#deps = deps;
    this.#snoozes = new Snoozes(deps.store, () => deps.clock.steadyMs());
    const episodes = deps.store.alerts.episodes();
    const storm = deps.store.alerts.storm();
    const isMember = (episode: Episode) => episode.state === "active" && episode.storm === storm?.alertId;
    this.#storm = storm === null ? calm : stormOf(storm, episodes.filter(isMember));
    for (const episode of episodes) {
      const { updatedAtMs } = episode;
      const state =
        episode.state === "active"
          ? { ...quiet, episode, publishedAtMs: updatedAtMs }
          : { ...quiet, clearedAtMs: updatedAtMs };
      this.#states.set(keyOf(episode.deviceId, episode.kind), state);
      this.#last.set(keyOf(episode.deviceId, episode.kind), episode.alertId);
    }
  }

  /**
   * After a row was judged by `subject.kind` (null: it can't say anything yet). The device's alarm is saved with the
   * transition, so that both agree after a restart. Throws, and has not seen the row, when that can't be saved.
   */
  observe(subject: Omit<EpisodeSubject, "newAlertId">, seen: Observation | null, row: EpisodeRow): void {
    for (const kind of MODEL_KINDS) if (kind !== subject.kind) this.#end(subject.deviceId, kind, row);
    if (seen === null) return;
    const key = keyOf(subject.deviceId, subject.kind);
    const about = { ...subject, newAlertId: this.#deps.newId };
    const step = stepEpisode(this.#states.get(key) ?? quiet, seen, about, { snoozed: this.#snoozes.has(subject) });
    this.#take(key, step, row);
  }

  /** The device's rows begin anew: whatever was active is over. */
  endAll(deviceId: DeviceId, row: EpisodeRow): void {
    for (const kind of MODEL_KINDS) {
      this.#end(deviceId, kind, row);
      this.#states.delete(keyOf(deviceId, kind));
    }
  }

  /** The episode that the word is about, as it is now; null: there is none. */
  find({ deviceId, kind, alertId }: Pick<AlertWord, "deviceId" | "kind" | "alertId">): Episode | null {
    const key = keyOf(deviceId, kind);
    const id = alertId ?? this.#last.get(key);
    const active = this.#states.get(key)?.episode ?? null;
    if (id === undefined || active?.alertId === id) return active;
    const episode = this.#deps.store.alerts.episode(id);
    return episode?.deviceId === deviceId && episode.kind === kind ? episode : null;
  }

  /** Of alerts now and to come, the next to end first. */
  snoozed(): Snooze[] {
    return this.#snoozes.inForce();
  }

  /** What is due by the gateway's time. */
  keepHouse(): void {
    this.#deps.store.alerts.emptyDue(this.#deps.clock.steadyMs());
    this.#snoozes.endDue();
  }

  /**
   * Of all alerts of a device under a model, until the end that is said, or from now on no more; `episode`, if there is one,
   * is said again with the word. Throws, and nothing has changed, when that can't be kept.
   */
  snooze(alert: Pick<Snooze, "deviceId" | "kind">, ack: Ack, episode: Episode | null): void {
    const { untilMs = null, atMs } = ack;
    this.#snoozes.set(alert, untilMs, atMs, () => {
      if (episode !== null) this.acknowledge(episode, ack, []);
    });
  }

  /** `records`: devices to be saved with it. Throws, and nothing has changed, when that can't be done. */
  acknowledge(found: Episode, ack: Ack, records: readonly DeviceRecord[]): Episode {
    const { store, origin, newId, clock, onTransition } = this.#deps;
    const episode: Episode = { ...found, ack, announced: true };
    const key = keyOf(episode.deviceId, episode.kind);
    const isLast = this.#last.get(key) === episode.alertId;
    const stamp = { id: newId(), receivedAtMs: ack.atMs, clock: clock.quality(), isLast };
    store.transaction(() => {
      store.alerts.saveEpisode(episode);
      store.alerts.addMessages(alertMessages(origin, { kind: "acked", episode }, stamp));
      if (isLast && episode.state === "cleared") {
        this.#emptyLater(stateTopic(origin, episode.deviceId, episode.kind), true);
      }
      store.learning.saveDevices(episode.cohort, records);
    });
    this.#replace(episode);
    onTransition(episode);
    return episode;
  }

  #end(deviceId: DeviceId, kind: ModelKind, row: EpisodeRow): void {
    const key = keyOf(deviceId, kind);
    const state = this.#states.get(key);
    if (state?.episode) this.#take(key, clearEpisode(state, row.atMs), row);
  }

  #take(key: string, { state, event }: EpisodeStep, row: EpisodeRow): void {
    if (event === null) {
      this.#states.set(key, state);
      return;
    }
    const storm = this.#stormAfter(event);
    const joins = storm.joined.some(({ alertId }) => alertId === event.episode.alertId);
    const episode = joins ? { ...event.episode, storm: storm.id, announced: false } : event.episode;
    const joined = storm.joined.flatMap(({ deviceId, kind, alertId }): Episode[] => {
      const other = this.#states.get(keyOf(deviceId, kind))?.episode;
      return other?.alertId === alertId ? [{ ...other, storm: storm.id }] : [];
    });
    this.#save({ kind: event.kind, episode }, row, { ...storm, joined });
    // After it is saved: what could not be is tried again with the next row.
    this.#storm = storm.state;
    for (const other of joined) this.#replace(other);
    this.#last.set(key, episode.alertId);
    this.#states.set(key, { ...state, episode: state.episode === null ? null : episode });
    this.#deps.onTransition(episode);
  }

  #stormAfter({ kind, episode }: Transition): StormStep & { readonly id: string | null } {
    const { newId, devices } = this.#deps;
    const step = (): StormStep => {
      if (kind === "raised") return stormAfterRaise(this.#storm, episode, { devices: devices(), newAlertId: newId });
      if (kind === "cleared") return stormAfterClear(this.#storm, episode.alertId, episode.updatedAtMs);
      return { state: this.#storm, event: null, joined: [] };
    };
    const next = step();
    return { ...next, id: next.state.storm?.alertId ?? null };
  }

  #save(
    transition: Transition,
    { receivedAtMs, record }: EpisodeRow,
    storm: Pick<StormStep, "state" | "event"> & { readonly joined: readonly Episode[] },
  ): void {
    const { store, origin, newId } = this.#deps;
    const { episode, kind } = transition;
    const clock = this.#deps.clock.quality();
    store.transaction(() => {
      for (const each of [...storm.joined, episode]) store.alerts.saveEpisode(each);
      if (isTold(transition)) {
        store.alerts.addMessages(alertMessages(origin, transition, { id: newId(), receivedAtMs, clock }));
        this.#emptyLater(stateTopic(origin, episode.deviceId, episode.kind), kind === "cleared");
      }
      if (storm.state.storm !== this.#storm.storm) store.alerts.saveStorm(storm.state.storm);
      if (storm.event !== null) {
        const active = storm.state.members.size;
        store.alerts.addMessages(stormMessages(origin, storm.event, { id: newId(), active, clock }));
        this.#emptyLater(stormTopic(origin), storm.event.kind === "cleared");
      }
      if (kind !== "updated") store.learning.saveDevices(episode.cohort, [record()]);
    });
  }

  #emptyLater(topic: string, cleared: boolean): void {
    this.#deps.store.alerts.emptyAt(topic, cleared ? this.#deps.clock.steadyMs() + CLEARED_STATE_MS : null);
  }

  /** In memory, if it is its device's active one. */
  #replace(episode: Episode): void {
    const key = keyOf(episode.deviceId, episode.kind);
    const state = this.#states.get(key);
    if (state?.episode?.alertId === episode.alertId) this.#states.set(key, { ...state, episode });
  }
}

type Transition = NonNullable<EpisodeStep["event"]>;

/** Episodes of a storm are not told one by one while it lasts; but what was raised by itself is also cleared by itself. */
const isTold = ({ kind, episode }: Transition) => (kind === "updated" ? episode.storm === null : episode.announced);

const keyOf = (deviceId: DeviceId, kind: ModelKind) => `${deviceId}/${kind}`;
