// One cohort's learning under one plan: the champion that scores, the local weights that train, the rows in between.
import { encodeDelta } from "../learning/codecs/codec.ts";
import type { CohortId, UpdateId } from "../learning/ids.ts";
import { weightCount } from "../learning/plan.ts";
import type { PlanModel, Scores } from "../runtime/plan-model.ts";
import type { Device, DeviceRecord } from "./core/device.ts";
import { boundedFactor } from "./core/feedback.ts";
import { PendingRows } from "./core/pending-rows.ts";
import { isRecent } from "./core/recent.ts";
import type { Lane } from "./lane.ts";
import type { AgentStore, CohortRecord, Slot } from "./ports/agent-store.ts";
import type { Feedback, FeedbackAcknowledgement, GlobalModel, Update } from "./ports/coordinator-link.ts";
import type { Plan } from "./ports/plan.ts";
import { isUsable, type LocalTraining, trainLocally } from "./train-locally.ts";

/** Rows that wait for a base to train from, or for a training to end. */
const MAX_PENDING_ROWS = 10_000;
/** How long a training that failed, for a full disk say, is not tried again. */
const RETRY_MS = 60_000;
/** Bounds the memory of one calibration run. */
const CALIBRATION_ROWS = 1_000;

export class UnusableModelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnusableModelError";
  }
}

export interface LearnerDeps {
  readonly cohort: CohortId;
  readonly store: AgentStore;
  readonly lane: Lane;
  readonly nowMs: () => number;
  readonly newUpdateId: () => UpdateId;
  readonly devices: () => Iterable<Device>;
  /** Records that are due to be saved, to be saved with a training. */
  readonly dueRecords: () => readonly DeviceRecord[];
  readonly onTrained: (update: Update) => void;
  readonly onProblem: (kind: "training_failed" | "training_diverged", what: string) => void;
}

/**
 * At most one training at a time; a newer champion and a rejection abort it, its rows stay. Steps are computed beside
 * the agent's lane; every method that changes the slot runs in it.
 */
export class Learner {
  readonly plan: Plan;
  readonly #deps: LearnerDeps;
  readonly #model: PlanModel;
  readonly #pending = new PendingRows(MAX_PENDING_ROWS);
  #slot: Slot | null;
  #factor: number;
  #training: AbortController | null = null;
  #computing: Promise<unknown> = Promise.resolve();
  #lastTrainingMs: number;
  #failedAtMs: number | null = null;

  constructor(deps: LearnerDeps, model: PlanModel, { plan, slot, learningRateFactor }: CohortRecord) {
    this.#deps = deps;
    this.#model = model;
    this.plan = plan;
    this.#slot = slot;
    this.#factor = learningRateFactor;
    this.#lastTrainingMs = deps.nowMs();
  }

  get slot(): Slot | null {
    return this.#slot;
  }

  /** Scores under the champion's weights. */
  async score(features: readonly Float32Array[]): Promise<Scores> {
    if (this.#slot === null) throw new Error("there is no model to score with");
    const { featureCount } = this.plan.manifest;
    const x = new Float32Array(features.length * featureCount);
    for (const [index, row] of features.entries()) x.set(row, index * featureCount);
    return this.#model.score(this.#slot.base, x, features.length);
  }

  /** The row waits to be trained on. */
  learn(features: Float32Array): void {
    this.#pending.add(features);
  }

  /** False when it is active already; its factor is in force either way. Throws UnusableModelError, changing nothing. */
  async activate(model: GlobalModel): Promise<boolean> {
    const { globalVersion, trained, weights } = model;
    const before = this.#slot;
    const factor = boundedFactor(model.learningRateFactor) ?? this.#factor;
    if (before?.globalVersion === globalVersion && before.trained === trained && same(before.base, weights)) {
      if (factor !== this.#factor) this.#deps.store.learning.saveFactor(this.#deps.cohort, factor);
      this.#factor = factor;
      return false;
    }
    const count = weightCount(this.plan.manifest.weights);
    if (weights.length !== count) throw new UnusableModelError(`${weights.length} weights; the plan has ${count}`);
    const { localSteps, residual } = before ?? { localSteps: 0, residual: new Float32Array(count) };
    const slot = { globalVersion, trained, base: weights, local: weights, localSteps, residual };
    const thresholds = trained ? await this.#calibrationScores(weights) : [];
    this.#training?.abort();
    const versionsBeganAgain = before !== null && globalVersion < before.globalVersion;
    this.#deps.store.transaction(() => {
      if (versionsBeganAgain) this.#deps.store.learning.forgetFeedback(this.#deps.cohort);
      this.#deps.store.learning.saveSlot(this.#deps.cohort, slot);
      this.#deps.store.learning.saveFactor(this.#deps.cohort, factor);
    });
    this.#slot = slot;
    this.#factor = factor;
    for (const [device, scores] of thresholds) device.monitor?.calibrate(scores);
    return true;
  }

  /**
   * Idempotent by version; what it returns is now in force. Feedback on a candidate before the champion changes nothing:
   * the champion came with what holds since.
   */
  applyFeedback({ cohort, globalVersion, promoted, learningRateFactor }: Feedback): FeedbackAcknowledgement {
    const { store } = this.#deps;
    const factor = boundedFactor(learningRateFactor) ?? this.#factor;
    const slot = promoted || this.#slot === null ? this.#slot : backToBase(this.#slot);
    const outdated = this.#slot !== null && globalVersion < this.#slot.globalVersion;
    const applied =
      !outdated &&
      store.transaction(() => {
        if (!store.learning.recordFeedback(cohort, globalVersion, factor)) return false;
        if (slot !== null) store.learning.saveSlot(cohort, slot);
        return true;
      });
    if (applied) {
      if (slot !== this.#slot) this.#training?.abort();
      this.#slot = slot;
      this.#factor = factor;
    }
    return { cohort, globalVersion, learningRateFactor: this.#factor };
  }

  /** Thresholds of all devices under the champion, if it is a detector. */
  async recalibrate(): Promise<void> {
    if (this.#slot === null || !this.#slot.trained) return;
    for (const [device, scores] of await this.#calibrationScores(this.#slot.base)) device.monitor?.calibrate(scores);
  }

  /** Enough new rows, or any new row and enough time. */
  due(): boolean {
    if (this.#slot === null || this.#training !== null || this.#pending.length === 0) return false;
    if (this.#failedAtMs !== null && isRecent(this.#failedAtMs, this.#deps.nowMs(), RETRY_MS)) return false;
    const { triggerRows, triggerMs } = this.plan.manifest.training;
    return this.#pending.length >= triggerRows || this.#deps.nowMs() - this.#lastTrainingMs >= triggerMs;
  }

  /** To be called when due; not in the lane, which its result enters by itself. Never rejects. */
  async train(): Promise<void> {
    const slot = this.#slot;
    if (slot === null || this.#training !== null) return;
    const training = new AbortController();
    this.#training = training;
    this.#lastTrainingMs = this.#deps.nowMs();
    const { manifest } = this.plan;
    const taken = this.#pending.take(manifest.featureCount);
    const learningRate = manifest.training.learningRate * this.#factor;
    const computing = trainLocally(this.#model, manifest, slot.local, taken, { learningRate, signal: training.signal });
    this.#computing = computing.catch(() => undefined);
    try {
      const result = await computing;
      if (result === null) return;
      await this.#deps.lane.run(async () => {
        if (!training.signal.aborted) await this.#adopt(slot, taken, result);
      });
    } catch (error) {
      this.#failedAtMs = this.#deps.nowMs();
      this.#deps.onProblem("training_failed", (error as Error).message);
    } finally {
      this.#training = null;
    }
  }

  /** Aborts a training and frees the model once nothing runs in it. */
  async close(): Promise<void> {
    this.#training?.abort();
    await this.#computing;
    await this.#model.release();
  }

  async #adopt(
    slot: Slot,
    taken: { readonly rows: number; readonly upTo: number },
    result: LocalTraining,
  ): Promise<void> {
    const { store, cohort } = this.#deps;
    if (!isUsable(result)) {
      const untrained = backToBase(slot);
      store.learning.saveSlot(cohort, untrained);
      this.#slot = untrained;
      this.#pending.learned(taken.upTo);
      return this.#deps.onProblem("training_diverged", `cohort ${cohort}: local weights go back to the champion's`);
    }
    const { next, update } = this.#step(slot, result, taken.rows);
    for (const device of this.#deps.devices()) device.monitor?.freeze();
    await this.recalibrate();
    store.transaction(() => {
      store.learning.saveSlot(cohort, next);
      store.learning.addUpdate(update);
      store.learning.saveDevices(cohort, this.#deps.dueRecords());
    });
    this.#slot = next;
    this.#pending.learned(taken.upTo);
    this.#deps.onTrained(update);
  }

  /** What a training on `samples` rows makes of the slot, and what is to be said of it. */
  #step(slot: Slot, { weights, steps, loss }: LocalTraining, samples: number): { next: Slot; update: Update } {
    const { training, weights: layout } = this.plan.manifest;
    const delta = weights.map((weight, index) => weight - (slot.local[index] ?? 0));
    const { bytes, residual } = encodeDelta(training.codec, delta, layout, slot.residual);
    const next = { ...slot, local: weights, localSteps: slot.localSteps + steps, residual };
    const update = {
      updateId: this.#deps.newUpdateId(),
      cohort: this.#deps.cohort,
      planId: this.plan.planId,
      baseVersion: slot.globalVersion,
      localSteps: next.localSteps,
      samples,
      loss,
      encoding: training.codec.kind,
      delta: bytes,
    };
    return { next, update };
  }

  /** Throws UnusableModelError when a score is not finite. */
  async #calibrationScores(weights: Float32Array): Promise<[Device, Float32Array][]> {
    const calibrated: [Device, Float32Array][] = [];
    for (const group of groupsOf(this.#deps.devices(), this.plan.manifest.featureCount)) {
      const { scores } = await this.#model.score(weights, group.x, group.rows);
      if (!scores.every(Number.isFinite)) throw new UnusableModelError("its scores are not finite");
      let from = 0;
      for (const { device, rows } of group.members) {
        calibrated.push([device, scores.slice(from, from + rows)]);
        from += rows;
      }
    }
    return calibrated;
  }
}

interface CalibrationGroup {
  readonly x: Float32Array;
  readonly rows: number;
  readonly members: readonly { readonly device: Device; readonly rows: number }[];
}

/** The calibration rows of many devices side by side, so that one run scores them all. */
function* groupsOf(devices: Iterable<Device>, featureCount: number): Generator<CalibrationGroup> {
  let members: { device: Device; x: Float32Array; rows: number }[] = [];
  let rows = 0;
  const flush = () => {
    const x = new Float32Array(rows * featureCount);
    let at = 0;
    for (const member of members) {
      x.set(member.x, at);
      at += member.x.length;
    }
    const group = { x, rows, members };
    members = [];
    rows = 0;
    return group;
  };
  for (const device of devices) {
    const own = device.monitor?.calibrationFeatures();
    if (own === undefined || own.rows === 0) continue;
    if (rows > 0 && rows + own.rows > CALIBRATION_ROWS) yield flush();
    members.push({ device, ...own });
    rows += own.rows;
  }
  if (rows > 0) yield flush();
}

const backToBase = (slot: Slot): Slot => ({
  ...slot,
  local: slot.base,
  residual: new Float32Array(slot.base.length),
});

const same = (a: Float32Array, b: Float32Array) =>
  a.length === b.length && a.every((value, index) => value === b[index]);
