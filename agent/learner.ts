// One cohort's learning under one plan: the champion that scores, the local weights that train, the rows in between.
import { encodeDelta } from "../learning/codecs/codec.ts";
import { type FleetStatistics, noFleet, sameFleet } from "../learning/fleet.ts";
import type { CohortId, UpdateId } from "../learning/ids.ts";
import { growsTrees, takesLabels } from "../learning/models/signature.ts";
import type { PlanModel, Scores } from "../runtime/plan-model.ts";
import { Calibration } from "./calibration.ts";
import { checkFleet, checkWeights } from "./check-model.ts";
import type { Device, DeviceRecord } from "./core/device.ts";
import { boundedFactor } from "./core/feedback.ts";
import { type PendingRow, PendingRows, type TakenRows } from "./core/pending-rows.ts";
import { isRecent } from "./core/recent.ts";
import { recentFeatures } from "./core/recent-features.ts";
import type { Trial } from "./core/try-model.ts";
import { fineTune, tuningRows } from "./fine-tune.ts";
import { KeptModels } from "./kept-models.ts";
import type { Lane } from "./lane.ts";
import {
  activated,
  backToBase,
  beginsAgain,
  forced,
  held,
  invited,
  isSameModel,
  type ModelSlots,
  modelOf,
  rolledBack,
  type ServingSlots,
  servedBefore,
  servingWeights,
} from "./model-slots.ts";
import type { AgentStore, CohortRecord, HeldModel, Slot, Spares, Tuning } from "./ports/agent-store.ts";
import type {
  CohortStatistics,
  Feedback,
  FeedbackAcknowledgement,
  GlobalModel,
  Invitation,
  Update,
} from "./ports/coordinator-link.ts";
import type { Plan } from "./ports/plan.ts";
import { isUsable, type LocalTraining, trainLocally } from "./train-locally.ts";
import { type Scorer, tellDevices, tryCandidate } from "./try-candidate.ts";

/** Rows that wait for a base to train from, or for a training to end. */
const MAX_PENDING_ROWS = 10_000;
/** Bounds the time and memory of a training over all recent rows. */
const MAX_RECENT_ROWS = 10_000;
/** A champion that stays is fine-tuned anew so long after the last time. */
const TUNE_AGAIN_MS = 3_600_000;
/** How long a training that failed, for a full disk say, is not tried again. */
const RETRY_MS = 60_000;

/** Of a model that came; "held": it did clearly worse than the active one, which goes on. "unchanged": it had come before. */
export type Activation = "activated" | "held" | "unchanged";

export interface LearnerDeps {
  readonly cohort: CohortId;
  readonly store: AgentStore;
  readonly lane: Lane;
  readonly nowMs: () => number;
  readonly newUpdateId: () => UpdateId;
  readonly devices: () => Iterable<Device>;
  /** Another one on every gateway, for what it draws when it sums up scores or grows trees. */
  readonly seed: number;
  /** Records that are due to be saved, to be saved with a training. */
  readonly dueRecords: () => readonly DeviceRecord[];
  /** `tuning`: what fine-tuning came to, where there was one. */
  readonly onTrained: (update: Update, tuning: Tuning | null) => void;
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
  readonly #scorer: Scorer;
  readonly #calibration: Calibration;
  readonly #pending = new PendingRows(MAX_PENDING_ROWS);
  readonly #models: KeptModels;
  /** The last one, and when it ends. */
  #invitation: (Pick<Invitation, "roundId" | "baseVersion"> & { readonly untilMs: number }) | null = null;
  #training: AbortController | null = null;
  #computing: Promise<unknown> = Promise.resolve();
  #lastTrainingMs: number;
  #keptUpAtMs: number;
  #failedAtMs: number | null = null;
  /** When the last layers were last fine-tuned; null: not since the start. */
  #tunedAtMs: number | null = null;

  constructor(deps: LearnerDeps, model: PlanModel, record: CohortRecord) {
    this.#deps = deps;
    this.#model = model;
    this.plan = record.plan;
    this.#scorer = { model, manifest: this.plan.manifest };
    this.#calibration = new Calibration({ scorer: this.#scorer, devices: deps.devices, seed: deps.seed });
    this.#models = new KeptModels(deps.store, deps.cohort, record);
    this.#lastTrainingMs = deps.nowMs();
    this.#keptUpAtMs = this.#lastTrainingMs;
  }

  get slot(): Slot | null {
    return this.#models.slot;
  }

  get spares(): Spares {
    return this.#models.spares;
  }

  /** What the fleet knows, as it came with the champion: for every device of the cohort. */
  get fleet(): FleetStatistics {
    return this.slot?.fleet ?? noFleet;
  }

  /** What the calibrated devices say together under the champion; the same object until they are calibrated anew. */
  statistics(): CohortStatistics | null {
    if (this.slot === null || !this.slot.trained) return null;
    const { cohort } = this.#deps;
    const { globalVersion } = this.slot;
    return this.#calibration.statistics({ cohort, planId: this.plan.planId, globalVersion });
  }

  /** Under the champion's weights, or what fine-tuning made of them. */
  async score(features: readonly Float32Array[]): Promise<Scores> {
    if (this.slot === null) throw new Error("there is no model to score with");
    const { featureCount } = this.plan.manifest;
    const x = new Float32Array(features.length * featureCount);
    for (const [index, row] of features.entries()) x.set(row, index * featureCount);
    return this.#model.score(servingWeights(this.slot), x, features.length);
  }

  /** The row waits to be trained on. `label`: for plans that learn from labels, and no others. */
  learn(features: Float32Array, label: 0 | 1 | null = null): PendingRow {
    return this.#pending.add(features, label);
  }

  /** The same for rows side by side, [rows, featureCount]. */
  learnAll(features: Float32Array): void {
    const { featureCount } = this.plan.manifest;
    for (let at = 0; at < features.length; at += featureCount) this.learn(features.subarray(at, at + featureCount));
  }

  /**
   * Its factor and when to train are in force whatever becomes of it. A trained model is first tried beside a trained
   * active one; one that had come before is not tried again. Throws UnusableModelError, changing nothing.
   */
  async activate(model: GlobalModel): Promise<Activation> {
    const { fleet, trainWhenInvited } = model;
    const slots = this.#models.all;
    const factor = boundedFactor(model.learningRateFactor) ?? this.#models.factor;
    if (isServing(slots) && isSameModel(modelOf(slots.active), model)) {
      const { active } = slots;
      const alike = sameFleet(active.fleet, fleet) && active.trainWhenInvited === trainWhenInvited;
      if (alike && slots.candidate === null) this.#keep(slots, factor);
      else {
        checkFleet(this.plan.manifest, fleet);
        await this.#take({ ...slots, active: { ...active, fleet, trainWhenInvited }, candidate: null }, factor);
      }
      return "unchanged";
    }
    if (isServing(slots) && slots.candidate !== null && isSameModel(slots.candidate, model)) {
      this.#keep(invited(slots, trainWhenInvited), factor);
      return "unchanged";
    }
    checkWeights(this.plan.manifest, model.weights);
    checkFleet(this.plan.manifest, fleet);
    const trial = servedBefore(slots, model) ? null : await this.#try(model);
    const again = beginsAgain(slots, model);
    if (isServing(slots) && trial?.worse) {
      this.#keep(invited(held(slots, model, trial), trainWhenInvited), factor, again);
      return "held";
    }
    await this.#take(activated(slots, model, trainWhenInvited), factor, again);
    return "activated";
  }

  /** The candidate becomes the active model. False: there is none of this version. */
  activateCandidate(globalVersion: number): Promise<boolean> {
    return this.#exchange((slots) => forced(slots, globalVersion));
  }

  /** The model before becomes the active one until a newer one comes than is active now. False: there is none before. */
  rollBack(): Promise<boolean> {
    return this.#exchange(rolledBack);
  }

  async #exchange(exchanged: (slots: ServingSlots) => ServingSlots | null): Promise<boolean> {
    const slots = this.#models.all;
    const next = isServing(slots) ? exchanged(slots) : null;
    if (next !== null) await this.#take(next, this.#models.factor);
    return next !== null;
  }

  #try(model: HeldModel): Promise<Trial | null> {
    const active = this.slot && modelOf(this.slot);
    return tryCandidate(this.#scorer, this.#deps.devices, active, model);
  }

  /** The fleet's scales change the devices' features, so they go to the devices before these are calibrated. */
  async #take(next: ServingSlots, factor: number, versionsBeganAgain = false): Promise<void> {
    const { active } = next;
    tellDevices(this.#deps.devices(), active.fleet);
    try {
      const scored = active.trained ? await this.#calibration.scores(servingWeights(active)) : [];
      this.#keep(next, factor, versionsBeganAgain);
      this.#calibration.adopt(scored);
    } catch (error) {
      tellDevices(this.#deps.devices(), this.fleet);
      throw error;
    }
  }

  #keep(next: ServingSlots, factor: number, versionsBeganAgain = false): void {
    if (this.#models.keep(next, factor, versionsBeganAgain)) this.#training?.abort();
  }

  /** As KeptModels has it; a training that a refusal overtakes is for nothing. */
  applyFeedback(feedback: Feedback): FeedbackAcknowledgement {
    const { acknowledged, wentBack } = this.#models.applyFeedback(feedback);
    if (wentBack) this.#training?.abort();
    return acknowledged;
  }

  /** Thresholds of devices under what scores, if it is a detector. */
  async recalibrate(devices?: Iterable<Device>, slot = this.slot): Promise<void> {
    if (slot === null || !slot.trained) return;
    this.#calibration.adopt(await this.#calibration.scores(servingWeights(slot), devices));
  }

  /**
   * Every training brings the devices' references and thresholds up to date. Where labels or invitations are rare
   * trainings are, and this does as much as often as the plan would train. To be called now and then, in the lane.
   */
  async keepUp(): Promise<void> {
    const { triggerMs } = this.plan.manifest.training;
    const nowMs = this.#deps.nowMs();
    const trainsRarely = takesLabels(this.plan.manifest) || this.slot?.trainWhenInvited;
    if (!trainsRarely || isRecent(this.#keptUpAtMs, nowMs, triggerMs)) return;
    this.#keptUpAtMs = nowMs;
    await this.#bringUpToDate();
  }

  async #bringUpToDate(slot = this.slot): Promise<void> {
    for (const device of this.#deps.devices()) device.monitor?.freeze();
    await this.recalibrate(this.#deps.devices(), slot);
  }

  /** A round wants an update trained from the champion; one that was answered, or is over, wants nothing. */
  invite({ roundId, baseVersion, deadlineMs }: Invitation): void {
    this.#invitation = { roundId, baseVersion, untilMs: this.#deps.nowMs() + deadlineMs };
  }

  /** Enough new rows, or any new row and enough time; in a cohort that invites, any new row and an open invitation. */
  due(): boolean {
    if (this.slot === null || this.#training !== null || this.#pending.length === 0) return false;
    if (this.#failedAtMs !== null && isRecent(this.#failedAtMs, this.#deps.nowMs(), RETRY_MS)) return false;
    if (this.slot.trainWhenInvited) return this.#openRound(this.slot) !== null;
    const { triggerRows, triggerMs } = this.plan.manifest.training;
    return this.#pending.length >= triggerRows || this.#deps.nowMs() - this.#lastTrainingMs >= triggerMs;
  }

  /** To be called when due; not in the lane, which its result enters by itself. Never rejects. */
  async train(): Promise<void> {
    if (this.slot === null || this.#training !== null || this.#pending.length === 0) return;
    const roundId = this.#openRound(this.slot);
    if (this.slot.trainWhenInvited && roundId === null) return;
    // All of a round start at the champion: what an update that was refused had moved is gone.
    const slot = roundId === null ? this.slot : { ...this.slot, local: this.slot.base };
    const training = new AbortController();
    this.#training = training;
    this.#lastTrainingMs = this.#deps.nowMs();
    const { manifest } = this.plan;
    const {
      featureCount,
      training: { learnFrom },
    } = manifest;
    const taken = this.#pending.take(featureCount);
    const data =
      learnFrom === "new_rows"
        ? taken
        : { ...recentFeatures(this.#deps.devices(), featureCount, MAX_RECENT_ROWS), y: null };
    const learningRate = manifest.training.learningRate * this.#models.factor;
    const options = {
      learningRate,
      trainingNumber: slot.localSteps,
      gatewaySeed: this.#deps.seed,
      signal: training.signal,
    };
    const computing = trainLocally(this.#model, manifest, slot, data, options);
    this.#computing = computing.catch(() => undefined);
    try {
      const result = await computing;
      if (result === null) return;
      const tuning = await this.#tune(slot, training.signal);
      await this.#deps.lane.run(async () => {
        if (!training.signal.aborted) await this.#adopt({ ...slot, tuning }, taken, result, roundId);
      });
    } catch (error) {
      this.#failedAtMs = this.#deps.nowMs();
      this.#deps.onProblem("training_failed", (error as Error).message);
    } finally {
      this.#training = null;
    }
  }

  /** Of a champion once it is trained on, and again when that is long ago; else what it was. */
  async #tune(slot: Slot, signal: AbortSignal): Promise<Tuning | null> {
    const nowMs = this.#deps.nowMs();
    const isFresh = this.#tunedAtMs !== null && isRecent(this.#tunedAtMs, nowMs, TUNE_AGAIN_MS);
    if (!slot.trained || (slot.tuning !== null && isFresh)) return slot.tuning;
    const rows = tuningRows(this.plan.manifest, [...this.#deps.devices()]);
    if (rows === null) return slot.tuning;
    this.#tunedAtMs = nowMs;
    const computing = fineTune(this.#model, this.plan.manifest, slot, rows, { gatewaySeed: this.#deps.seed, signal });
    this.#computing = computing.catch(() => undefined);
    return (await computing) ?? slot.tuning;
  }

  /** Aborts a training and frees the model once nothing runs in it. */
  async close(): Promise<void> {
    this.#training?.abort();
    await this.#computing;
    await this.#model.release();
  }

  async #adopt(
    slot: Slot,
    taken: Pick<TakenRows, "rows" | "upTo">,
    result: LocalTraining,
    roundId: number | null,
  ): Promise<void> {
    const { store, cohort } = this.#deps;
    if (!isUsable(result)) {
      const untrained = backToBase(slot);
      this.#models.keepTrained(untrained);
      this.#pending.learned(taken.upTo);
      return this.#deps.onProblem("training_diverged", `cohort ${cohort}: local weights go back to the champion's`);
    }
    const { next, update } = this.#step(slot, result, taken.rows, roundId);
    const tuned = next.tuning !== this.slot?.tuning ? next.tuning : null;
    await this.#bringUpToDate(next);
    try {
      this.#models.keepTrained(next, () => {
        // A forest's update is the whole forest, whatever the ones before it were.
        store.learning.addUpdate(update, growsTrees(this.plan.manifest));
        store.learning.saveDevices(cohort, this.#deps.dueRecords());
      });
    } catch (error) {
      if (tuned !== null) await this.recalibrate(); // what scores is what it was
      throw error;
    }
    this.#pending.learned(taken.upTo);
    this.#deps.onTrained(update, tuned);
  }

  /** The round that waits for an update of this gateway; null: none does. */
  #openRound({ trainWhenInvited, globalVersion, answeredRound }: Slot): number | null {
    if (!trainWhenInvited || this.#invitation === null) return null;
    const { roundId, baseVersion, untilMs } = this.#invitation;
    const isOpen = baseVersion === globalVersion && roundId !== answeredRound && this.#deps.nowMs() < untilMs;
    return isOpen ? roundId : null;
  }

  /** What a training on `samples` rows makes of the slot, and what is to be said of it. */
  #step(
    slot: Slot,
    { weights, delta, steps, loss }: LocalTraining,
    samples: number,
    roundId: number | null,
  ): { next: Slot; update: Update } {
    const { training, weights: layout } = this.plan.manifest;
    const { bytes, residual } = encodeDelta(training.codec, delta, layout, slot.residual);
    const answeredRound = roundId ?? slot.answeredRound;
    const next = { ...slot, local: weights, localSteps: slot.localSteps + steps, residual, answeredRound };
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
      roundId,
    };
    return { next, update };
  }
}

const isServing = (slots: ModelSlots): slots is ServingSlots => slots.active !== null;
