// Labels and operators' words, put to the rows, thresholds and alerts they are about.
import type { DeviceId } from "../learning/ids.ts";
import { type Refusal, refusal } from "../learning/telemetry/refusal.ts";
import type { RowLabels } from "../learning/telemetry/row-labels.ts";
import type { Cohort } from "./cohort.ts";
import type { Device } from "./core/device.ts";
import type { AckAction, Episode, ModelKind } from "./core/episode.ts";
import type { AlertWord } from "./core/labels.ts";
import type { Episodes } from "./episodes.ts";
import type { LearningStore } from "./ports/agent-store.ts";

export interface LabelsDeps {
  readonly cohorts: Iterable<Cohort>;
  readonly episodes: Episodes;
  readonly devices: Pick<LearningStore, "saveDevices">;
  /** `where`: the device. */
  readonly refuse: (where: string, refusal: Refusal) => void;
}

interface KnownDevice {
  readonly device: Device;
  readonly cohort: Cohort;
}

const UNKNOWN_DEVICE = refusal("unknown_device", "no row of the device was used yet");
const unknownAlert = (kind: ModelKind) =>
  refusal("unknown_alert", `no such alert of ${kind} is kept; alert_id is its data.alert_id`);

/** What a word says of an alert's rows. */
const LABEL_OF: Readonly<Partial<Record<AckAction, 0 | 1>>> = { confirm: 1, false_alarm: 0 };

/** To be called in the agent's lane, after the rows that came before. */
export class Labels {
  readonly #deps: LabelsDeps;

  constructor(deps: LabelsDeps) {
    this.#deps = deps;
  }

  labelRows(said: RowLabels): void {
    for (const refusedFor of this.#label(said)) this.#deps.refuse(said.deviceId, refusedFor);
  }

  /**
   * The alert is said again with the word and the threshold that is in force after it. A false alarm moves the device's own
   * threshold, once an episode; a reset, which needs no alert, puts it back to the rule's; where the plan learns from
   * labels, the episode's rows get one. A snooze and its end are of the device's alerts under that model, and need no alert
   * either; an acknowledgement is noted. Throws, and nothing has changed, when it can't be kept.
   */
  acknowledge(word: AlertWord): void {
    const { deviceId, action, kind } = word;
    const episode = this.#deps.episodes.find(word);
    if (action === "snooze" || action === "unsnooze") this.#snooze(word, episode);
    else if (episode !== null) this.#acknowledge(word, episode);
    else if (action === "reset_threshold") this.#resetThreshold(deviceId);
    else this.#deps.refuse(deviceId, unknownAlert(kind));
  }

  #acknowledge({ deviceId, action, receivedAtMs: atMs }: AlertWord, episode: Episode): void {
    const device = this.#known(deviceId)?.device ?? null;
    const { operatorFactor, movedThreshold, threshold } = afterWord(action, episode, device);
    if (episode.ack?.action === action && operatorFactor === (device?.operatorFactor ?? 1)) return;
    const records = device === null ? [] : [{ ...device.record(), operatorFactor }];
    this.#deps.episodes.acknowledge({ ...episode, threshold }, { action, atMs, movedThreshold }, records);
    if (device === null) return;
    device.operatorFactor = operatorFactor;
    const label = device.seen === null ? undefined : LABEL_OF[action];
    if (label !== undefined) this.labelRows({ deviceId, label, ...rowsOf(episode) });
  }

  #snooze({ deviceId, kind, alertId, action, untilMs, receivedAtMs: atMs }: AlertWord, episode: Episode | null): void {
    if (this.#known(deviceId) === null) this.#deps.refuse(deviceId, UNKNOWN_DEVICE);
    else if (episode === null && alertId !== null) this.#deps.refuse(deviceId, unknownAlert(kind));
    else {
      const movedThreshold = episode?.ack?.movedThreshold ?? false;
      const ack = { action, atMs, movedThreshold, ...(untilMs === null ? {} : { untilMs }) };
      this.#deps.episodes.snooze({ deviceId, kind }, ack, episode);
    }
  }

  #resetThreshold(deviceId: DeviceId): void {
    const known = this.#known(deviceId);
    if (known === null) {
      this.#deps.refuse(deviceId, UNKNOWN_DEVICE);
      return;
    }
    const { device, cohort } = known;
    this.#deps.devices.saveDevices(cohort.cohort, [{ ...device.record(), operatorFactor: 1 }]);
    device.operatorFactor = 1;
  }

  /** Why not all of it could be used. */
  #label(said: RowLabels): readonly Refusal[] {
    const known = this.#known(said.deviceId);
    if (known === null) return [UNKNOWN_DEVICE];
    const { learner } = known.cohort;
    const { seen } = known.device;
    if (learner === null || seen === null) {
      return [refusal("unlabelled_plan", "the device's plan does not learn from labels; a classifier's does")];
    }
    if (said.fromMs > (seen.lastAtMs ?? Number.NEGATIVE_INFINITY)) {
      return [refusal("future_label", `from ${iso(said.fromMs)} is after the device's last row`)];
    }
    const { rows, trained, late } = seen.label(said, (features, label) => learner.learn(features, label));
    const others = `of the rows from ${iso(said.fromMs)} on; ${rows} others have it`;
    return [
      ...(late ? [refusal("late_label", `it is too late for some ${others}`)] : []),
      ...(trained ? [refusal("trained_label", `the other label was learned with some ${others}`)] : []),
    ];
  }

  #known(deviceId: DeviceId): KnownDevice | null {
    for (const cohort of this.#deps.cohorts) {
      const device = cohort.devices.get(deviceId);
      if (device !== undefined) return { device, cohort };
    }
    return null;
  }
}

interface AfterWord {
  readonly operatorFactor: number;
  readonly movedThreshold: boolean;
  readonly threshold: number;
}

/** What a word makes of its device's factor, and of what its episode says of the threshold. */
function afterWord(action: AckAction, episode: Episode, device: Device | null): AfterWord {
  const moved = episode.ack?.movedThreshold ?? false;
  const { ruleThreshold, threshold } = episode;
  const inForce = (operatorFactor: number) => device?.thresholdWith(operatorFactor) ?? threshold;
  if (action === "reset_threshold") return { operatorFactor: 1, movedThreshold: false, threshold: inForce(1) };
  if (device === null || ruleThreshold === null || action !== "false_alarm") {
    return { operatorFactor: device?.operatorFactor ?? 1, movedThreshold: moved, threshold };
  }
  const operatorFactor = moved ? device.operatorFactor : device.factorAfterFalseAlarm(episode);
  return { operatorFactor, movedThreshold: true, threshold: inForce(operatorFactor) };
}

/** From the one that raised it to the last one over the threshold: the quiet rows that cleared it are none of it. */
const rowsOf = ({ startedAtMs, lastOverAtMs }: Episode) => ({ fromMs: startedAtMs, toMs: lastOverAtMs });

const iso = (atMs: number) => new Date(atMs).toISOString();
