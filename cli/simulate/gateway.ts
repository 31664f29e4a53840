// A gateway without sensors: the agent's own uplink over an outbox in memory, with made updates instead of learned ones.
import { monotonicFactory } from "ulid";
import { boundedFactor } from "../../agent/core/feedback.ts";
import type {
  CoordinatorLink,
  Feedback,
  FeedbackAcknowledgement,
  GlobalModel,
  Hello,
  Invitation,
  Report,
  Update,
} from "../../agent/ports/coordinator-link.ts";
import { Uplink, type UplinkHandlers, type UplinkProblem, type UplinkStore } from "../../agent/uplink.ts";
import { type CohortId, deviceId, type GatewayId, type PlanId, updateId } from "../../learning/ids.ts";
import type { Random } from "../../learning/random.ts";
import { packageVersion } from "../../runtime/package-root.ts";
import type { MadePlan } from "./made-plan.ts";
import type { Meter } from "./meter.ts";

/** Ids that count on within a millisecond, by plain chance: they need to be unique, not secret. */
const ulid = monotonicFactory(Math.random);
const SITE = "simulated";
const DEVICE = deviceId("simulated");
/** n_new of an update, at most; they differ, so that a sum tells which updates are in it. */
const MAX_SAMPLES = 50;

export interface GatewayDeps {
  readonly gatewayId: GatewayId;
  readonly cohort: CohortId;
  readonly link: CoordinatorLink;
  readonly meter: Meter;
  readonly random: Random;
  /** Unanswered updates, at most. */
  readonly inFlight: number;
  /** The plan if it is there already, as in a gateway's cache. */
  readonly cachedPlan: () => MadePlan | null;
  /** Rejects when `signal` aborts. */
  readonly plan: (planId: PlanId, link: CoordinatorLink, signal: AbortSignal) => Promise<MadePlan>;
  readonly problem: (kind: UplinkProblem | "store_failed", what: string) => void;
}

/** At most `inFlight` updates wait for their answers at a time. */
export class SimulatedGateway {
  readonly #deps: GatewayDeps;
  readonly #uplink: Uplink;
  readonly #queue = new Map<string, Update>();
  #signal: AbortSignal = AbortSignal.abort();
  #plan: MadePlan | null = null;
  #globalVersion = 0;
  #factor = 1;
  #updates = 0;
  #samples = 0;
  #connected = false;
  /** A champion that comes with the hello is no promotion. */
  #greeted = false;
  #neverIdle = false;
  #trainWhenInvited = false;
  #answeredRound: number | null = null;

  constructor(deps: GatewayDeps) {
    this.#deps = deps;
    const { link, random } = deps;
    const handlers = this.#handlers();
    this.#uplink = new Uplink({ link, store: this.#store(), nowMs: Date.now, random: random.next, handlers });
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** It holds a plan and a champion to learn from. */
  get ready(): boolean {
    return this.#connected && this.#plan !== null && this.#globalVersion > 0;
  }

  /** Sessions, one after the other, until `signal` aborts; never rejects. */
  run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    return this.#uplink.run(signal);
  }

  /** Has one more update to send, unless as many as allowed are unanswered or it is to wait for an invitation. */
  train(): void {
    if (this.#trainWhenInvited) return;
    if (this.#add()) void this.#uplink.wake();
    else this.#deps.meter.count("updatesHeldBack");
  }

  /** From now on another update follows every answer, or no longer does. */
  neverIdle(on: boolean): void {
    this.#neverIdle = on;
    this.#fill();
  }

  report(): void {
    void this.#uplink.report();
  }

  close(): void {
    this.#deps.link.close();
  }

  #fill(): void {
    if (!this.#neverIdle || this.#trainWhenInvited) return;
    while (this.#add());
    void this.#uplink.wake();
  }

  #add(roundId: number | null = null): boolean {
    const update = this.#queue.size < this.#deps.inFlight ? this.#newUpdate(roundId) : null;
    if (update === null) return false;
    this.#queue.set(update.updateId, update);
    this.#deps.meter.count("updatesMade");
    return true;
  }

  /** Null while there is nothing to learn from. */
  #newUpdate(roundId: number | null): Update | null {
    const { cohort, random } = this.#deps;
    const plan = this.#plan;
    if (plan === null || this.#globalVersion === 0) return null;
    const samples = 1 + Math.floor(MAX_SAMPLES * random.next());
    this.#updates++;
    this.#samples += samples;
    return {
      updateId: updateId(ulid()),
      cohort,
      planId: plan.planId,
      baseVersion: this.#globalVersion,
      localSteps: this.#updates,
      samples,
      loss: random.next(),
      encoding: plan.encoding,
      delta: plan.deltas[Math.floor(plan.deltas.length * random.next())] as Uint8Array,
      roundId,
    };
  }

  #store(): UplinkStore {
    return {
      learning: {
        queuedUpdates: (limit) => Array.from(this.#queue.values(), ({ updateId: id }) => id).slice(0, limit),
        update: (id) => this.#queue.get(id) ?? null,
        removeUpdate: (id) => {
          this.#queue.delete(id);
          if (this.#neverIdle && !this.#trainWhenInvited) this.#add();
        },
      },
    };
  }

  #handlers(): UplinkHandlers {
    return {
      hello: () => this.#hello(),
      report: () => ({ report: this.#report(), answered: () => undefined }),
      planChanged: ({ planId }) => void this.#follow(planId),
      globalModel: async (model) => this.#activate(model),
      feedback: async (feedback) => this.#apply(feedback),
      invitation: (invitation) => this.#answer(invitation),
      updatesWait: () => false,
      modelCommand: async () => undefined, // it has no models to choose from
      sessionChanged: (connected) => this.#sessionChanged(connected),
      problem: (kind, what) => {
        if (kind === "no_session") this.#deps.meter.count("attemptsFailed");
        this.#deps.problem(kind, what);
      },
      storeFailed: (error) => this.#deps.problem("store_failed", error.message),
    };
  }

  #held(): Hello["cohorts"] {
    this.#plan ??= this.#deps.cachedPlan();
    const { cohort } = this.#deps;
    const planId = this.#plan?.planId ?? null;
    const globalVersion = this.#globalVersion;
    return [{ cohort, planId, globalVersion, devices: [DEVICE], candidate: null, previousVersion: null }];
  }

  #hello(): Hello {
    const { gatewayId } = this.#deps;
    return { gatewayId, agentVersion: packageVersion, site: SITE, cohorts: this.#held() };
  }

  #report(): Report {
    const health = {
      rows: this.#samples,
      rowsRefused: 0,
      updatesTrained: this.#updates,
      samplesTrained: this.#samples,
      outboxBytes: 0,
      outboxDropped: 0,
      rssBytes: 0,
      windowsDropped: 0,
      quarantinedFiles: 0,
      storeBytes: 0,
      flashWrittenToday: null,
      carriedToday: 0,
      withheld: [],
    };
    return {
      reportId: ulid(),
      episodes: [],
      health,
      clock: "unsynchronised",
      cohorts: this.#held(),
      statistics: [],
      summaries: [],
    };
  }

  async #follow(planId: PlanId): Promise<void> {
    if (this.#plan?.planId === planId) return;
    this.#plan = null;
    const plan = await this.#deps.plan(planId, this.#deps.link, this.#signal).catch(() => null);
    if (plan === null) return; // the run is over
    this.#plan = plan;
    this.#fill();
  }

  #activate({ cohort, globalVersion, trainWhenInvited }: GlobalModel): void {
    if (cohort !== this.#deps.cohort) return;
    if (this.#greeted && globalVersion > this.#globalVersion) this.#deps.meter.champion(globalVersion);
    this.#greeted = true;
    this.#globalVersion = globalVersion;
    this.#trainWhenInvited = trainWhenInvited;
    this.#fill();
  }

  #answer({ cohort, roundId, baseVersion }: Invitation): void {
    if (cohort !== this.#deps.cohort || baseVersion !== this.#globalVersion || roundId === this.#answeredRound) return;
    if (!this.#add(roundId)) return;
    this.#answeredRound = roundId;
    void this.#uplink.wake();
  }

  #apply({ cohort, globalVersion, learningRateFactor }: Feedback): FeedbackAcknowledgement {
    this.#factor = boundedFactor(learningRateFactor) ?? this.#factor;
    return { cohort, globalVersion, learningRateFactor: this.#factor };
  }

  #sessionChanged(connected: boolean): void {
    this.#connected = connected;
    this.#greeted = false;
    if (!connected) this.#deps.meter.count("sessionsLost");
  }
}
