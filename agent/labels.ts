// Labels and operators' words, put to the rows, thresholds and alerts they are about.
import type { DeviceId } from "../learning/ids.ts";
import type { Cohort } from "./cohort.ts";
import type { Device } from "./core/device.ts";
import type { Episode } from "./core/episode.ts";
import type { AlertWord, RowLabels } from "./core/labels.ts";
import { type Refusal, refusal } from "./core/refusal.ts";
import type { Episodes } from "./episodes.ts";
import type { Learner } from "./learner.ts";

export interface LabelsDeps {
  readonly cohorts: Iterable<Cohort>;
  readonly episodes: Episodes;
  /** `where`: the device. */
  readonly refuse: (where: string, refusal: Refusal) => void;
}

interface KnownDevice {
  readonly device: Device;
  readonly learner: Learner | null;
}

/** To be called in the agent's lane, after the rows that came before. */
export class Labels {
  readonly #deps: LabelsDeps;

  constructor(deps: LabelsDeps) {
    this.#deps = deps;
  }

  labelRows(said: RowLabels): void {
    const refusedFor = this.#label(said);
    if (refusedFor !== null) this.#deps.refuse(said.deviceId, refusedFor);
  }

  /**
   * The alert is said again with the word. A false alarm moves the device's own threshold, once an episode; where the
   * plan learns from labels, the episode's rows get one. Throws, and nothing has changed, when it can't be kept.
   */
  acknowledge(word: AlertWord): void {
    const { episodes, refuse } = this.#deps;
    const { deviceId, action, receivedAtMs: atMs } = word;
    const episode = episodes.find(word);
    if (episode === null) {
      refuse(
        deviceId,
        refusal("unknown_alert", `no such alert of ${word.kind} is kept; alert_id is its data.alert_id`),
      );
      return;
    }
    if (episode.ack?.action === action) return;
    const device = this.#known(deviceId)?.device ?? null;
    const moved = episode.ack?.movedThreshold ?? false;
    const moves = device !== null && episode.ruleThreshold !== null && action === "false_alarm" && !moved;
    const operatorFactor = moves ? device.factorAfterFalseAlarm(episode) : (device?.operatorFactor ?? 1);
    const records = device === null ? [] : [{ ...device.record(), operatorFactor }];
    episodes.acknowledge(episode, { action, atMs, movedThreshold: moved || moves }, records);
    if (device === null) return;
    device.operatorFactor = operatorFactor;
    if (device.seen !== null) this.labelRows({ deviceId, label: action === "confirm" ? 1 : 0, ...rowsOf(episode) });
  }

  /** Why not all of it could be used; null: it could. */
  #label(said: RowLabels): Refusal | null {
    const known = this.#known(said.deviceId);
    if (known === null) return refusal("unknown_device", "no row of the device was used yet");
    const { learner, device } = known;
    const { seen } = device;
    if (learner === null || seen === null) {
      return refusal("unlabelled_plan", "the device's plan does not learn from labels; a classifier's does");
    }
    if (said.fromMs > (seen.lastAtMs ?? Number.NEGATIVE_INFINITY)) {
      return refusal("future_label", `from ${iso(said.fromMs)} is after the device's last row`);
    }
    const { rows, late } = seen.label(said, (features, label) => learner.learn(features, label));
    return late ? refusal("late_label", `rows from ${iso(said.fromMs)} on are gone; ${rows} were still held`) : null;
  }

  #known(deviceId: DeviceId): KnownDevice | null {
    for (const { devices, learner } of this.#deps.cohorts) {
      const device = devices.get(deviceId);
      if (device !== undefined) return { device, learner };
    }
    return null;
  }
}

/** From the one that raised it to the last one over the threshold: the quiet rows that cleared it are none of it. */
const rowsOf = ({ startedAtMs, lastOverAtMs }: Episode) => ({ fromMs: startedAtMs, toMs: lastOverAtMs });

const iso = (atMs: number) => new Date(atMs).toISOString();
