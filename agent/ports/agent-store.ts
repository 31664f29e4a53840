// What a gateway keeps across restarts. Every call is synchronous and durable when it returns (the process may die, the
// file stays whole); queues are bounded in bytes and drop their oldest entry, counted. Where there is no room, what
// waits to be sent and is kept less long (KEEPING_ORDER) is dropped for it, counted; what then still finds none throws.

import type { FleetStatistics } from "../../learning/fleet.ts";
import type { CohortId, DeviceId, UpdateId } from "../../learning/ids.ts";
import type { OutgoingMessage } from "../core/alert.ts";
import type { DayBytes } from "../core/day-bytes.ts";
import type { DeviceRecord } from "../core/device.ts";
import type { Episode, ModelKind } from "../core/episode.ts";
import type { Kept } from "../core/keeping.ts";
import type { Storm } from "../core/storm.ts";
import type { Trial } from "../core/try-model.ts";
import type { WindowsSnapshot } from "../core/windows.ts";
import type { Update, WindowSummaries } from "./coordinator-link.ts";
import type { Plan } from "./plan.ts";

/** A cohort's active model: the champion it came from and the weights trained on since. */
export interface Slot {
  readonly globalVersion: number;
  /** The champion is a detector, not just a base to train from. */
  readonly trained: boolean;
  /** What came with the champion. */
  readonly fleet: FleetStatistics;
  readonly base: Float32Array;
  readonly local: Float32Array;
  /** Null: the plan wants none, or it was not tried on this champion yet. */
  readonly tuning: Tuning | null;
  readonly localSteps: number;
  /**
   * What the updates so far have left unsaid of the trainings so far, to go with the next one. A newer champion doesn't
   * change what is owed; where the local weights go back to the base, nothing is.
   */
  readonly residual: Float32Array;
  /** As it was said with the champion. */
  readonly trainWhenInvited: boolean;
  /** The last round that got an invited update; null: none did. */
  readonly answeredRound: number | null;
}

/** What became of the champion's last layers on this gateway's own rows. */
export interface Tuning {
  /** What scores, [P]; null: the champion's own weights do, which were better on the rows that were held back. */
  readonly weights: Float32Array | null;
  /** Rows that were held back. */
  readonly rows: number;
  /** Of them: mean score, or of a classifier the mean distance from their labels. */
  readonly championError: number;
  /** Null: it is not finite. */
  readonly tunedError: number | null;
}

/** A global model as it came. */
export interface HeldModel extends Pick<Slot, "globalVersion" | "trained" | "fleet"> {
  readonly weights: Float32Array;
}

/** The cohort's champion, which is not used here. */
export interface Candidate extends HeldModel {
  /** In which it did clearly worse than the active model; null: an operator rolled back from it. */
  readonly trial: Trial | null;
}

/** The models beside the active one. */
export interface Spares {
  readonly candidate: Candidate | null;
  /** The model that was active before; null: there was none, or it was rolled back to. */
  readonly previous: HeldModel | null;
}

export interface CohortRecord extends Spares {
  readonly plan: Plan;
  readonly learningRateFactor: number;
  readonly slot: Slot | null;
}

export interface LearningStore {
  /** Null when the cohort has no plan, or none that is still whole. */
  cohort(cohort: CohortId): CohortRecord | null;
  /** The cohort begins anew with `plan`: factor 1, no models, no devices, no feedback. */
  startPlan(cohort: CohortId, plan: Plan): void;
  /** That signed the plans in use; null: none did yet. */
  planKey(): string | null;
  keepPlanKey(key: string): void;
  saveSlot(cohort: CohortId, slot: Slot): void;
  saveSpares(cohort: CohortId, spares: Spares): void;
  saveFactor(cohort: CohortId, learningRateFactor: number): void;
  /** False, and nothing changes, when feedback on this version of the cohort or on a later one was recorded before. */
  recordFeedback(cohort: CohortId, globalVersion: number, learningRateFactor: number): boolean;
  /** The coordinator's versions began again: feedback of other champions is forgotten. */
  forgetFeedback(cohort: CohortId): void;
  /** A record that can't be read any more is left out. */
  devices(cohort: CohortId): DeviceRecord[];
  saveDevices(cohort: CohortId, devices: readonly DeviceRecord[]): void;
  /**
   * Appends to the outbox and adds to the counters `updates_trained` and `samples_trained`. `supersedes`: it says all that
   * its cohort's earlier ones say, and these leave the outbox (`superseded_update`).
   */
  addUpdate(update: Update, supersedes: boolean): void;
  /** The oldest unanswered updates. */
  queuedUpdates(limit: number): UpdateId[];
  update(updateId: UpdateId): Update | null;
  removeUpdate(updateId: string): void;
}

export interface QueuedMessage {
  readonly sequence: number;
  readonly message: OutgoingMessage;
}

export interface UnreportedEpisode {
  readonly episode: Episode;
  /** Grows with every save of the episode. */
  readonly revision: number;
}

/** Alerts of a device under a model are not raised until then. */
export interface Snooze {
  readonly deviceId: DeviceId;
  readonly kind: ModelKind;
  readonly untilMs: number;
}

export interface AlertStore {
  saveEpisode(episode: Episode): void;
  /** Active ones and the most recent cleared ones, oldest first. */
  episodes(): Episode[];
  /** One of them; null: it is not among them. */
  episode(alertId: string): Episode | null;
  unreported(limit: number): UnreportedEpisode[];
  /** An episode saved again since then stays unreported. */
  markReported(episodes: readonly UnreportedEpisode[]): void;
  /** The active one. */
  storm(): Storm | null;
  saveStorm(storm: Storm | null): void;
  snoozes(): Snooze[];
  saveSnooze(snooze: Snooze): void;
  endSnooze(snooze: Pick<Snooze, "deviceId" | "kind">): void;
  addMessages(messages: readonly OutgoingMessage[]): void;
  queuedMessages(limit: number): QueuedMessage[];
  removeMessage(sequence: number): void;
  /** Topics by which Home Assistant was told of something. */
  discovered(): string[];
  addDiscovered(topic: string): void;
  removeDiscovered(topic: string): void;
  /** When the retained state of `topic` is to be emptied; null: it stays. */
  emptyAt(topic: string, atMs: number | null): void;
  /** Queues an empty retained message for every topic that is due, or was to be by a clock that has been set back since. */
  emptyDue(nowMs: number): void;
}

export interface QueuedSummaries {
  readonly sequence: number;
  readonly summaries: WindowSummaries;
}

/** The windows of one device that were open when the agent stopped. */
export interface OpenWindows {
  readonly deviceId: DeviceId;
  readonly cohort: CohortId;
  readonly windowMs: number;
  readonly channels: readonly string[];
  readonly snapshot: WindowsSnapshot;
}

export interface SummaryStore {
  /** Appends to the queue; `dropped_window` counts each window of those that have to leave it. */
  add(summaries: readonly WindowSummaries[]): void;
  /** The oldest, as many as fit into `maxBytes`, and at least one. */
  oldest(maxBytes: number): QueuedSummaries[];
  remove(sequences: readonly number[]): void;
  /** Forgets what is queued, and the windows that were open. */
  clear(): void;
  /** In place of what was saved before. */
  saveOpen(devices: readonly OpenWindows[]): void;
  /** What was saved; it is given once. A record that can't be read any more is left out. */
  takeOpen(): OpenWindows[];
}

export type Counter =
  | "updates_trained"
  | "samples_trained"
  | "dropped_update"
  | "superseded_update"
  | "dropped_alert"
  | "dropped_window"
  | "quarantined_file";

export interface LedgerStore {
  /** Nothing was carried on a day that is not known. */
  day(day: string): DayBytes;
  /** In place of what was saved of that day; more than a year of days is not kept. */
  save(day: string, bytes: DayBytes): void;
}

export interface StoreState {
  /** On the disk, its journal included. */
  readonly bytes: number;
  /** Left on the disk. */
  readonly freeBytes: number;
  /** There is a ballast to be given up for alerts; null: none is wanted. */
  readonly ballast: boolean | null;
  /** The file is not what it was; it is set aside when it is opened next, which should be soon. */
  readonly damaged: boolean;
  /** What could not be written when it was last tried, in the last minute. */
  readonly unwritable: readonly Kept[];
  readonly activeEpisodes: number;
}

export interface AgentStore {
  readonly learning: LearningStore;
  readonly alerts: AlertStore;
  readonly summaries: SummaryStore;
  readonly ledger: LedgerStore;
  /** All that `work` does to this store becomes durable together, or none of it if it throws; `work` may be done again. */
  transaction<Result>(work: () => Result): Result;
  counter(name: Counter): number;
  outboxBytes(): { readonly updates: number; readonly alerts: number; readonly summaries: number };
  state(): StoreState;
  /** To be called now and then: takes the ballast back once there is room. */
  keepHouse(): void;
  close(): void;
}
