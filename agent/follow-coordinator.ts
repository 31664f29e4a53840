// What the coordinator says about plans, models and learning rates, applied to the gateway's cohorts.
import type { CohortId, PlanId } from "../learning/ids.ts";
import { PlanModel } from "../runtime/plan-model.ts";
import { type BackoffSettings, backoffMs, pause } from "../runtime/retry.ts";
import { UnusableModelError } from "./check-model.ts";
import type { Cohort } from "./cohort.ts";
import { boundedFactor } from "./core/feedback.ts";
import { distrust } from "./core/plan-trust.ts";
import type { Lane } from "./lane.ts";
import type { Learner } from "./learner.ts";
import type { AgentStore, Candidate, CohortRecord, Slot } from "./ports/agent-store.ts";
import type {
  CohortHeld,
  CoordinatorLink,
  Feedback,
  FeedbackAcknowledgement,
  GlobalModel,
  Invitation,
  ModelCommand,
} from "./ports/coordinator-link.ts";
import type { FetchedPlan } from "./ports/plan.ts";
import type { ReportTrouble, TroubleKind } from "./trouble.ts";

const REFETCH: BackoffSettings = { firstMs: 1_000, maxMs: 60_000 };

export interface FollowerDeps {
  readonly cohorts: ReadonlyMap<CohortId, Cohort>;
  readonly store: AgentStore;
  readonly link: Pick<CoordinatorLink, "fetchPlan">;
  /** Of the operator; no others are trusted when there are some. */
  readonly planKeys: readonly string[];
  readonly lane: Lane;
  readonly random: () => number;
  readonly newLearner: (cohort: Cohort, model: PlanModel, record: CohortRecord) => Learner;
  readonly onActivated: (cohort: Cohort, slot: Slot) => void;
  /** A model did clearly worse than the active one and waits beside it. */
  readonly onHeld: (cohort: Cohort, candidate: Candidate) => void;
  readonly trouble: ReportTrouble;
}

class UntrustedPlanError extends Error {}

/** A plan on its way, and what was said meanwhile: the newest of each waits for it. */
interface Fetch {
  readonly planId: PlanId;
  readonly abort: AbortController;
  model: GlobalModel | null;
  feedback: { readonly said: Feedback; readonly acknowledge: (now: FeedbackAcknowledgement) => void } | null;
}

/** At most one plan is being fetched for a cohort, the one named last. */
export class CoordinatorFollower {
  readonly #deps: FollowerDeps;
  readonly #fetches = new Map<CohortId, Fetch>();

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
    const fetch: Fetch = { planId, abort: new AbortController(), model: null, feedback: null };
    this.#fetches.set(id, fetch);
    void this.#fetch(cohort, fetch);
  }

  /** One of the plan in force counts at once, also while another plan is on its way; one of any other plan never does. */
  async globalModel(model: GlobalModel): Promise<void> {
    const cohort = this.#cohort(model.cohort);
    if (cohort === null) return;
    const fetch = this.#fetches.get(model.cohort);
    if (fetch?.planId === model.planId) fetch.model = model;
    else await this.#deps.lane.run(() => this.#activate(cohort, model));
  }

  /**
   * Resolves when it is in force, or has nothing to be in force for. Feedback that waits for a plan never resolves once
   * newer feedback or another plan took its place: a later session brings it again.
   */
  async feedback(feedback: Feedback): Promise<FeedbackAcknowledgement> {
    const { cohort, planId, globalVersion, learningRateFactor } = feedback;
    const fetch = this.#fetches.get(cohort);
    if (fetch !== undefined && (planId === null || planId === fetch.planId)) {
      return new Promise((acknowledge) => {
        fetch.feedback = { said: feedback, acknowledge };
      });
    }
    const learner = this.#cohort(cohort)?.learner ?? null;
    const meant = learner !== null && (planId === null || planId === learner.plan.planId);
    if (meant) return this.#deps.lane.run(() => learner.applyFeedback(feedback));
    return { cohort, globalVersion, learningRateFactor: boundedFactor(learningRateFactor) ?? 1 };
  }

  /** Of no use while a plan is on its way: the coordinator invites who holds the cohort's plan. */
  invitation(invitation: Invitation): void {
    this.#cohort(invitation.cohort)?.learner?.invite(invitation);
  }

  /** Never rejects: one that can't be done changes nothing. */
  async modelCommand(command: ModelCommand): Promise<void> {
    const cohort = this.#cohort(command.cohort);
    if (cohort !== null) await this.#deps.lane.run(() => this.#obey(cohort, command));
  }

  close(): void {
    for (const { abort } of this.#fetches.values()) abort.abort();
  }

  async #fetch(cohort: Cohort, fetch: Fetch): Promise<void> {
    const { planId } = fetch;
    const { signal } = fetch.abort;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const plan = await this.#deps.link.fetchPlan(planId, signal);
        this.#checkTrust(plan);
        const model = await PlanModel.load(plan);
        return await this.#deps.lane.run(() => this.#adopt(cohort, plan, model, fetch));
      } catch (error) {
        const kind = error instanceof UntrustedPlanError ? "plan_refused" : "plan_fetch";
        if (!signal.aborted) this.#deps.trouble(kind, `${cohort.cohort} ${planId}`, (error as Error).message);
        await pause(backoffMs(attempt, REFETCH, this.#deps.random), signal);
      }
    }
  }

  /** Rejects, changing nothing, when the plan can't be kept. */
  async #adopt(cohort: Cohort, plan: FetchedPlan, model: PlanModel, fetch: Fetch): Promise<void> {
    if (fetch.abort.signal.aborted) return model.release();
    const { store } = this.#deps;
    try {
      this.#checkTrust(plan); // another cohort's first plan may have come meanwhile
      store.transaction(() => {
        store.learning.startPlan(cohort.cohort, plan);
        if (plan.signedBy !== null) store.learning.keepPlanKey(plan.signedBy);
      });
    } catch (error) {
      await model.release();
      throw error;
    }
    const failed = (kind: TroubleKind) => (error: Error) => this.#deps.trouble(kind, cohort.cohort, error.message);
    cohort.learner?.close().catch(failed("bad_model"));
    const learner = this.#deps.newLearner(cohort, model, {
      plan,
      slot: null,
      candidate: null,
      previous: null,
      learningRateFactor: 1,
    });
    cohort.learnBy(learner);
    this.#fetches.delete(cohort.cohort);
    await this.#catchUp(cohort, learner, fetch).catch(failed("store_failed")); // the next session brings it again
  }

  #checkTrust({ signedBy }: FetchedPlan): void {
    const { planKeys: named, store } = this.#deps;
    const why = distrust(signedBy, { named, kept: store.learning.planKey() });
    if (why !== null) throw new UntrustedPlanError(why);
  }

  async #catchUp(cohort: Cohort, learner: Learner, { model, feedback }: Fetch): Promise<void> {
    if (model !== null) await this.#activate(cohort, model);
    feedback?.acknowledge(learner.applyFeedback(feedback.said));
  }

  async #activate(cohort: Cohort, model: GlobalModel): Promise<void> {
    const { learner } = cohort;
    if (learner?.plan.planId !== model.planId) return;
    try {
      const activation = await learner.activate(model);
      const { candidate } = learner.spares;
      if (activation === "activated") this.#tellActive(cohort);
      else if (activation === "held" && candidate !== null) this.#deps.onHeld(cohort, candidate);
    } catch (error) {
      if (!(error instanceof UnusableModelError)) throw error;
      this.#deps.trouble("bad_model", `${model.cohort} version ${model.globalVersion}`, error.message);
    }
  }

  async #obey(cohort: Cohort, command: ModelCommand): Promise<void> {
    const { learner } = cohort;
    const { trouble } = this.#deps;
    try {
      const done =
        command.kind === "activateModel"
          ? await learner?.activateCandidate(command.globalVersion)
          : await learner?.rollBack();
      if (done) this.#tellActive(cohort);
      else trouble("command_refused", cohort.cohort, refusalOf(command, cohort.held()));
    } catch (error) {
      trouble("command_refused", cohort.cohort, `${command.kind} could not be done: ${(error as Error).message}`);
    }
  }

  #tellActive(cohort: Cohort): void {
    const slot = cohort.learner?.slot ?? null;
    if (slot !== null) this.#deps.onActivated(cohort, slot);
  }

  #cohort(id: CohortId): Cohort | null {
    const cohort = this.#deps.cohorts.get(id) ?? null;
    if (cohort === null)
      this.#deps.trouble("bad_message", id, "the coordinator spoke of a cohort that is not configured here");
    return cohort;
  }
}

function refusalOf(command: ModelCommand, { globalVersion, candidate }: CohortHeld): string {
  return command.kind === "activateModel"
    ? `version ${command.globalVersion} is no candidate; the candidate is ${candidate?.globalVersion ?? "none"}`
    : `there is no model before the active version ${globalVersion}`;
}
