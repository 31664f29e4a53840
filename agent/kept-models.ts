// A cohort's models and its learning-rate factor as the store has them: what changes is written first, all of it or nothing.
import { boundedFactor } from "./core/feedback.ts";
import { backToBase, type ModelSlots, type ServingSlots } from "./model-slots.ts";
import type { AgentStore, CohortRecord, Slot, Spares } from "./ports/agent-store.ts";
import type { Feedback, FeedbackAcknowledgement } from "./ports/coordinator-link.ts";

export class KeptModels {
  readonly #store: AgentStore;
  readonly #cohort: Feedback["cohort"];
  #slot: Slot | null;
  #spares: Spares;
  #factor: number;

  constructor(store: AgentStore, cohort: Feedback["cohort"], record: CohortRecord) {
    const { candidate, previous } = record;
    this.#store = store;
    this.#cohort = cohort;
    this.#slot = record.slot;
    this.#spares = { candidate, previous };
    this.#factor = record.learningRateFactor;
  }

  get slot(): Slot | null {
    return this.#slot;
  }

  get spares(): Spares {
    return this.#spares;
  }

  get factor(): number {
    return this.#factor;
  }

  get all(): ModelSlots {
    return { active: this.#slot, ...this.#spares };
  }

  /** True: another slot is active, or the same with other weights. */
  keep(next: ServingSlots, factor: number, versionsBeganAgain: boolean): boolean {
    const { learning } = this.#store;
    const cohort = this.#cohort;
    const { active, candidate, previous } = next;
    const changed = active !== this.#slot;
    const spares =
      candidate === this.#spares.candidate && previous === this.#spares.previous ? null : { candidate, previous };
    this.#store.transaction(() => {
      if (versionsBeganAgain) learning.forgetFeedback(cohort);
      if (changed) learning.saveSlot(cohort, active);
      if (spares !== null) learning.saveSpares(cohort, spares);
      if (factor !== this.#factor) learning.saveFactor(cohort, factor);
    });
    this.#slot = active;
    this.#spares = spares ?? this.#spares;
    this.#factor = factor;
    return changed;
  }

  /** After a training; `others` are written with it. */
  keepTrained(slot: Slot, others: () => void = () => undefined): void {
    this.#store.transaction(() => {
      this.#store.learning.saveSlot(this.#cohort, slot);
      others();
    });
    this.#slot = slot;
  }

  /**
   * Idempotent by version; what it returns is now in force. Feedback on a candidate before the champion changes nothing:
   * the champion came with what holds since. `wentBack`: the update was refused, and local weights are the champion's again.
   */
  applyFeedback(feedback: Feedback): { readonly acknowledged: FeedbackAcknowledgement; readonly wentBack: boolean } {
    const { cohort, globalVersion, promoted, learningRateFactor } = feedback;
    const { learning } = this.#store;
    const factor = boundedFactor(learningRateFactor) ?? this.#factor;
    const slot = promoted || this.#slot === null ? this.#slot : backToBase(this.#slot);
    const outdated = this.#slot !== null && globalVersion < this.#slot.globalVersion;
    const applied =
      !outdated &&
      this.#store.transaction(() => {
        if (!learning.recordFeedback(cohort, globalVersion, factor)) return false;
        if (slot !== null) learning.saveSlot(cohort, slot);
        return true;
      });
    const wentBack = applied && slot !== this.#slot;
    if (applied) {
      this.#slot = slot;
      this.#factor = factor;
    }
    return { acknowledged: { cohort, globalVersion, learningRateFactor: this.#factor }, wentBack };
  }
}
