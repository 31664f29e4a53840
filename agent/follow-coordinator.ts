// What the coordinator says about plans, models and learning rates, applied to the gateway's cohorts.
import type { CohortId, PlanId } from "../learning/ids.ts";
import { PlanModel } from "../runtime/plan-model.ts";
import { type BackoffSettings, backoffMs, pause } from "../runtime/retry.ts";
import type { Cohort } from "./cohort.ts";
import { boundedFactor } from "./core/feedback.ts";
import type { Lane } from "./lane.ts";
import { type Learner, UnusableModelError } from "./learner.ts";
import type { AgentStore, CohortRecord, Slot } from "./ports/agent-store.ts";
import type { CoordinatorLink, Feedback, FeedbackAcknowledgement, GlobalModel } from "./ports/coordinator-link.ts";
import type { Plan } from "./ports/plan.ts";
import type { ReportTrouble } from "./trouble.ts";

const REFETCH: BackoffSettings = { firstMs: 1_000, maxMs: 60_000 };

export interface FollowerDeps {
  readonly cohorts: ReadonlyMap<CohortId, Cohort>;
  readonly store: AgentStore;
  readonly link: Pick<CoordinatorLink, "fetchPlan">;
  readonly lane: Lane;
  readonly random: () => number;
  readonly newLearner: (cohort: Cohort, model: PlanModel, record: CohortRecord) => Learner;
  readonly onActivated: (cohort: Cohort, slot: Slot) => void;
  readonly trouble: ReportTrouble;
}

/** At most one plan is being fetched for a cohort, the one named last; a model that comes before its plan waits for it. */
export class CoordinatorFollower {
  readonly #deps: FollowerDeps;
  readonly #fetches = new Map<CohortId, { readonly planId: PlanId; readonly abort: AbortController }>();
  readonly #waiting = new Map<CohortId, GlobalModel>();

  constructor(deps: FollowerDeps) {
    this.#deps = deps;
  }

  planChanged({ cohort: id, planId }: { readonly cohort: CohortId; readonly planId: PlanId }): void {
    const cohort = this.#cohort(id);
    const fetching = this.#fetches.get(id);
    if (cohort === null || fetching?.planId === planId) return;
    fetching?.abort.abort();
    this.#fetches.delete(id);
    if (cohort.learner?.plan.planId === planId) return;
    const abort = new AbortController();
    this.#fetches.set(id, { planId, abort });
    void this.#fetch(cohort, planId, abort.signal);
  }

  async globalModel(model: GlobalModel): Promise<void> {
    const cohort = this.#cohort(model.cohort);
    if (cohort === null) return;
    this.planChanged(model);
    if (this.#fetches.has(model.cohort)) this.#waiting.set(model.cohort, model);
    else await this.#deps.lane.run(() => this.#activate(cohort, model));
  }

  /** Always gives an acknowledgement, so that the coordinator need not repeat itself. */
  async feedback(feedback: Feedback): Promise<FeedbackAcknowledgement> {
    const { cohort, globalVersion, learningRateFactor } = feedback;
    const learner = this.#cohort(cohort)?.learner ?? null;
    if (learner !== null) return this.#deps.lane.run(() => learner.applyFeedback(feedback));
    return { cohort, globalVersion, learningRateFactor: boundedFactor(learningRateFactor) ?? 1 };
  }

  close(): void {
    for (const { abort } of this.#fetches.values()) abort.abort();
  }

  async #fetch(cohort: Cohort, planId: PlanId, signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const plan = await this.#deps.link.fetchPlan(planId, signal);
        const model = await PlanModel.load(plan);
        return await this.#deps.lane.run(() => this.#adopt(cohort, plan, model, signal));
      } catch (error) {
        if (!signal.aborted) this.#deps.trouble("plan_fetch", `${cohort.cohort} ${planId}`, (error as Error).message);
        await pause(backoffMs(attempt, REFETCH, this.#deps.random), signal);
      }
    }
  }

  async #adopt(cohort: Cohort, plan: Plan, model: PlanModel, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return model.release();
    this.#deps.store.learning.startPlan(cohort.cohort, plan);
    void cohort.learner?.close();
    cohort.learnBy(this.#deps.newLearner(cohort, model, { plan, slot: null, learningRateFactor: 1 }));
    this.#fetches.delete(cohort.cohort);
    const waiting = this.#waiting.get(cohort.cohort);
    this.#waiting.delete(cohort.cohort);
    if (waiting?.planId === plan.planId) await this.#activate(cohort, waiting);
  }

  async #activate(cohort: Cohort, model: GlobalModel): Promise<void> {
    const { learner } = cohort;
    if (learner?.plan.planId !== model.planId) return;
    try {
      const activated = await learner.activate(model);
      if (activated && learner.slot !== null) this.#deps.onActivated(cohort, learner.slot);
    } catch (error) {
      if (!(error instanceof UnusableModelError)) throw error;
      this.#deps.trouble("bad_model", `${model.cohort} version ${model.globalVersion}`, error.message);
    }
  }

  #cohort(id: CohortId): Cohort | null {
    const cohort = this.#deps.cohorts.get(id) ?? null;
    if (cohort === null)
      this.#deps.trouble("bad_message", id, "the coordinator spoke of a cohort that is not configured here");
    return cohort;
  }
}
