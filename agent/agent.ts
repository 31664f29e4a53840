// The agent: sensor message → row → window → features → score → episode → alert, and train → delta → outbox → session.
import type { CohortId, DeviceId, UpdateId } from "../learning/ids.ts";
import type { Refusal, RefusalKind } from "../learning/telemetry/refusal.ts";
import type { Logger } from "../runtime/log.ts";
import type { PlanModel } from "../runtime/plan-model.ts";
import { Problems } from "../runtime/problems.ts";
import { pause } from "../runtime/retry.ts";
import { Cohort } from "./cohort.ts";
import type { AgentConfig } from "./config.ts";
import type { Origin, OutgoingMessage } from "./core/alert.ts";
import { hash } from "./core/hash.ts";
import { birthTopic } from "./core/home-assistant.ts";
import type { SensorReader, SiteMessage } from "./core/mapping/sensor-reader.ts";
import { Discovery } from "./discovery.ts";
import { Episodes } from "./episodes.ts";
import { CoordinatorFollower } from "./follow-coordinator.ts";
import { Hearing } from "./hearing.ts";
import type { JudgedRow } from "./judge-rows.ts";
import { deviceCount, Judging } from "./judging.ts";
import { Labels } from "./labels.ts";
import { Lane } from "./lane.ts";
import { Learner } from "./learner.ts";
import { Ledger } from "./ledger.ts";
import { ModelNews } from "./model-news.ts";
import { observeRow } from "./observe-row.ts";
import type { AgentStore, CohortRecord, Slot, Tuning } from "./ports/agent-store.ts";
import type { Broker, BrokerHandlers } from "./ports/broker.ts";
import type { ByteMeter } from "./ports/byte-meter.ts";
import type { GatewayClock } from "./ports/clock.ts";
import type { CoordinatorLink, Update } from "./ports/coordinator-link.ts";
import type { Operation } from "./ports/operation.ts";
import { Publisher } from "./publisher.ts";
import { restoreCohorts } from "./restore-cohorts.ts";
import { SelfReport } from "./self-report.ts";
import { Summaries } from "./summaries.ts";
import { guarded, type ReportTrouble, type TroubleKind } from "./trouble.ts";
import { Uplink } from "./uplink.ts";
import { vitalsOf } from "./vitals.ts";

/** At 8 channels a forest and its rows take about 40 kB of memory, and 35 kB of the device's record. */
const MAX_FORESTS = 500;
const TRAINING_CHECK_MS = 250;
const SENSORS_MS = 250;
const HOUSEKEEPING_MS = 10_000;
const SUMMARY_LATENESS_MS = 60_000;
const STATUS_MS = 60_000;
/** Each of the six steps of closing; all of them together stay under five seconds. */
const CLOSE_STEP_MS = 800;

export interface AgentDeps {
  readonly config: AgentConfig;
  readonly version: string;
  readonly log: Logger;
  readonly store: AgentStore;
  readonly link: CoordinatorLink;
  readonly sensors: SensorReader;
  readonly openBroker: (handlers: BrokerHandlers) => Broker;
  readonly clock: GatewayClock;
  readonly meter: ByteMeter;
  readonly openOperation: (onProblem: (what: string) => void) => Operation;
  readonly random: () => number;
  /** A new ULID. */
  readonly newId: () => string;
}

/** Everything that changes a model, a device or an episode runs in one lane. */
export class Agent {
  readonly #deps: AgentDeps;
  readonly #origin: Origin;
  readonly #cohorts: ReadonlyMap<CohortId, Cohort>;
  readonly #lane = new Lane();
  readonly #refusals: Problems<RefusalKind>;
  /** Of labels and words on alerts: no row is lost with them. */
  readonly #wordRefusals: Problems<RefusalKind>;
  readonly #troubles: Problems<TroubleKind>;
  readonly #episodes: Episodes;
  /** Null: they are off. */
  readonly #summaries: Summaries | null;
  readonly #news: ModelNews;
  readonly #follower: CoordinatorFollower;
  readonly #uplink: Uplink;
  readonly #self: SelfReport;
  readonly #publisher: Publisher;
  readonly #discovery: Discovery;
  readonly #ledger: Ledger;
  readonly #judging: Judging;
  readonly #operation: Operation;
  readonly #broker: Broker;
  readonly #hearing: Hearing;
  readonly #stop = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #trouble: ReportTrouble = (kind, where, what) => this.#troubles.report(kind, where, what);
  #sessions: Promise<void> = Promise.resolve();
  #episodeChanges = 0;
  #inSession = false;
  #forests = 0;

  /** Takes up what the store kept; loads models, connects and listens. */
  static async start(deps: AgentDeps): Promise<Agent> {
    const agent = new Agent(deps);
    await agent.#lane.run(() => agent.#restoreAll()); // first in the lane: no row is judged before it
    agent.#sessions = agent.#uplink.run(agent.#stop.signal);
    const every = (ms: number, work: () => void) => agent.#timers.push(setInterval(work, ms));
    every(TRAINING_CHECK_MS, () => agent.#trainWhereDue());
    every(SENSORS_MS, () => agent.#hearing.due(deps.clock.wallMs()));
    every(HOUSEKEEPING_MS, () => agent.#keepHouse());
    every(STATUS_MS, () => agent.#tellStatus());
    agent.#watch();
    return agent;
  }

  private constructor(deps: AgentDeps) {
    const { config, log, store, link, clock, random, newId } = deps;
    const steadyMs = () => clock.steadyMs();
    this.#deps = deps;
    this.#origin = {
      site: config.FLEAD_SITE,
      gatewayId: config.FLEAD_GATEWAY_ID,
      alertPrefix: config.FLEAD_ALERT_PREFIX,
    };
    const mayGrowForest = (device: DeviceId) => this.#mayGrowForest(device);
    this.#cohorts = new Map(
      config.FLEAD_COHORTS.map(({ cohort }) => [cohort, new Cohort(cohort, steadyMs(), mayGrowForest)]),
    );
    this.#refusals = new Problems(log, steadyMs);
    this.#wordRefusals = new Problems(log, steadyMs);
    this.#troubles = new Problems(log, steadyMs);
    const trouble = this.#trouble;
    this.#operation = deps.openOperation((what) => trouble("operation", "agent", what));
    this.#judging = new Judging({
      cohorts: this.#cohorts,
      rules: config.FLEAD_COHORTS,
      lane: this.#lane,
      steadyMs,
      onJudged: (cohort, row) => this.#judged(cohort, row),
      onRefused: (where, refusal) => this.#refuse(where, refusal),
      onLate: (cohort, reading) => this.#stored(() => this.#summaries?.unjudged(cohort, reading)),
      onFailed: ({ cohort }, error) => trouble("row_failed", cohort, error.stack ?? error.message),
      onBatch: () => this.#trainWhereDue(),
    });
    this.#ledger = new Ledger({
      store: store.ledger,
      meter: deps.meter,
      budgetBytes: config.FLEAD_DAILY_BYTES,
      nowMs: () => clock.wallMs(),
    });
    this.#episodes = new Episodes({
      store,
      origin: this.#origin,
      devices: () => deviceCount(this.#cohorts),
      newId,
      clock,
      onTransition: () => this.#tellEpisodes(),
    });
    const windowMs = config.FLEAD_SUMMARIES;
    this.#summaries =
      windowMs === null
        ? null
        : new Summaries({
            settings: { windowMs, latenessMs: SUMMARY_LATENESS_MS },
            store: store.summaries,
            nowMs: steadyMs,
          });
    this.#news = new ModelNews({
      origin: this.#origin,
      log,
      trouble,
      stamp: () => ({ id: newId(), atMs: clock.wallMs() }),
      tell: (message) => this.#tell(message),
    });
    this.#follower = new CoordinatorFollower({
      cohorts: this.#cohorts,
      store,
      link,
      planKeys: config.FLEAD_PLAN_KEY,
      lane: this.#lane,
      random,
      newLearner: (cohort, model, record) => this.#learner(cohort, model, record),
      onActivated: (cohort, slot) => this.#activated(cohort, slot),
      onHeld: (cohort, candidate) => this.#news.held(cohort, candidate),
      trouble,
    });
    this.#self = new SelfReport({
      origin: this.#origin,
      version: deps.version,
      cohorts: [...this.#cohorts.values()],
      store,
      snoozed: () => this.#episodes.snoozed(),
      ledger: this.#ledger,
      rows: () => ({
        judged: this.#judging.judged,
        refused: this.#refusals.total,
        queued: this.#judging.waiting,
      }),
      newId,
      clock,
    });
    this.#uplink = new Uplink({
      link,
      store,
      nowMs: steadyMs,
      random,
      handlers: {
        hello: () => this.#self.hello(),
        report: (asked) => this.#self.report(asked),
        planChanged: (message) => this.#follower.planChanged(message),
        globalModel: (message) => this.#follower.globalModel(message),
        feedback: (message) => this.#follower.feedback(message),
        invitation: (message) => {
          this.#follower.invitation(message);
          this.#trainWhereDue();
        },
        updatesWait: () => this.#ledger.withheld().includes("updates"),
        sessionChanged: (connected, detail) => {
          this.#inSession = connected;
          log.info({ connected, detail }, "coordinator session");
        },
        modelCommand: (message) => this.#follower.modelCommand(message),
        problem: (kind, what) => trouble(kind, "coordinator", what),
        storeFailed: (error) => this.#storeFailed(error),
      },
    });
    this.#publisher = new Publisher(store.alerts, () => this.#broker);
    const prefix = config.FLEAD_HOME_ASSISTANT;
    this.#hearing = new Hearing({
      site: config.FLEAD_SITE,
      birthTopic: prefix === null ? null : birthTopic(prefix),
      sensors: deps.sensors,
      judging: this.#judging,
      labels: new Labels({
        cohorts: [...this.#cohorts.values()],
        episodes: this.#episodes,
        devices: store.learning,
        refuse: (where, refusal) => this.#refuseWord(where, refusal),
      }),
      lane: this.#lane,
      refuse: (where, refusal) => this.#refuse(where, refusal),
      refuseWord: (where, refusal) => this.#refuseWord(where, refusal),
      trouble,
      command: (command) => this.#broker.command(command),
      stored: (work) => void this.#stored(work),
      onBirth: () => this.#tellHomeAssistant(),
      onWord: () => this.#tellStatus(),
    });
    this.#discovery = new Discovery({
      subject: prefix === null ? null : { prefix, origin: this.#origin, version: deps.version },
      devices: () => [...this.#cohorts.values()].flatMap(({ devices }) => [...devices.keys()]),
      store: store.alerts,
      broker: () => this.#broker,
    });
    this.#broker = deps.openBroker({
      onMessage: (message) => this.#hearing.receive(message),
      whenCalm: () => this.#judging.whenCalm(),
      onConnect: () => {
        log.info("MQTT broker connected");
        this.#tellStatus();
        void this.#publisher.wake();
        this.#tellHomeAssistant();
      },
      onProblem: (broker, what) => trouble("broker", `MQTT ${broker}`, what),
    });
  }

  /** Never throws, whatever the message is. */
  receive(message: SiteMessage): void {
    this.#hearing.receive(message);
  }

  /** Stops intake, saves what is held and says good-bye; under five seconds. */
  async close(): Promise<void> {
    const { store, link, meter } = this.#deps;
    for (const timer of this.#timers) clearInterval(timer);
    const stopping = this.#operation.stopping();
    this.#broker.stopReceiving();
    this.#stop.abort();
    this.#follower.close();
    await within(CLOSE_STEP_MS, this.#judging.idle());
    this.#judging.drop();
    await within(CLOSE_STEP_MS, this.#lane.idle());
    await within(CLOSE_STEP_MS, Promise.all([this.#sessions, ...this.#learners().map((learner) => learner.close())]));
    this.#stored(() => {
      for (const cohort of this.#cohorts.values()) store.learning.saveDevices(cohort.cohort, cohort.records());
      this.#summaries?.save();
      this.#ledger.save(true);
    });
    if (this.#broker.connected) {
      const goodBye = this.#stored(() => this.#self.status("offline"));
      await within(CLOSE_STEP_MS, Promise.all([goodBye && this.#broker.publish(goodBye), this.#publisher.wake()]));
    }
    await within(CLOSE_STEP_MS, this.#broker.close());
    await within(
      CLOSE_STEP_MS,
      stopping.then(() => this.#operation.close()),
    );
    link.close();
    meter.close();
    store.close();
  }

  #judged(cohort: Cohort, row: JudgedRow): void {
    this.#stored(() => observeRow(this.#episodes, cohort, row, this.#trouble));
    this.#stored(() => this.#summaries?.judged(cohort, row));
  }

  #trainWhereDue(): void {
    for (const learner of this.#learners()) if (learner.due()) void learner.train();
  }

  #keepHouse(): void {
    const { store, clock } = this.#deps;
    this.#stored(() => {
      this.#episodes.keepHouse();
      store.keepHouse();
      this.#ledger.save();
      this.#summaries?.flush();
      for (const cohort of this.#cohorts.values()) {
        const due = cohort.dueRecords(clock.steadyMs());
        if (due.length > 0) store.learning.saveDevices(cohort.cohort, due);
      }
    });
    for (const cohort of this.#cohorts.values()) {
      this.#lane
        .run(() => cohort.learner?.keepUp())
        .catch((error: Error) => this.#trouble("bad_model", cohort.cohort, error.message));
    }
    void this.#publisher.wake();
    void this.#discovery.tellNew();
    void this.#uplink.report();
    void this.#uplink.wake(); // what waited for a new day
  }

  #tellEpisodes(): void {
    this.#episodeChanges++;
    void this.#publisher.wake();
    void this.#uplink.report();
  }

  #trained(update: Update, tuning: Tuning | null): void {
    this.#tellStatistics(); // before the update, which may close a round
    void this.#uplink.wake();
    this.#news.trained(update, tuning);
  }

  #tellStatistics(): void {
    if (this.#self.statisticsDue()) void this.#uplink.report();
  }

  #activated(cohort: Cohort, slot: Slot): void {
    this.#tellStatistics();
    this.#news.activated(cohort, slot);
  }

  #tellStatus(): void {
    const status = this.#stored(() => this.#self.status("online"));
    if (status !== null) this.#tell(status);
  }

  /** After what the store kept was taken up: until then no device would seem to be there. */
  #tellHomeAssistant(): void {
    void this.#lane.run(async () => void this.#discovery.tellAll());
  }

  /** Of interest only while it is fresh: not kept for a broker that is away. */
  #tell(message: OutgoingMessage): void {
    if (this.#broker.connected) this.#broker.publish(message).catch(() => undefined);
  }

  #watch(): void {
    const { version, store, clock } = this.#deps;
    const view = vitalsOf({
      version,
      startedAtMs: clock.wallMs(),
      cohorts: [...this.#cohorts.values()],
      store,
      ledger: this.#ledger,
      intake: this.#judging.watch,
      monotonicMs: () => clock.steadyMs(),
      counted: () => ({
        rowsJudged: this.#judging.judged,
        rowsWaiting: this.#judging.waiting,
        refusals: this.#refusals.counts,
        wordRefusals: this.#wordRefusals.counts,
        troubles: this.#troubles.counts,
        episodeChanges: this.#episodeChanges,
        brokerConnected: this.#broker.connected,
        coordinatorConnected: this.#inSession,
        loopLagMs: this.#operation.loopLagMs,
      }),
    });
    this.#operation.begin(view);
  }

  async #restoreAll(): Promise<void> {
    this.#stored(() => {
      if (this.#summaries === null)
        this.#deps.store.summaries.clear(); // what was queued before they were turned off
      else this.#summaries.restore();
    });
    await restoreCohorts({
      cohorts: this.#cohorts.values(),
      rules: this.#deps.config.FLEAD_COHORTS,
      store: this.#deps.store.learning,
      newLearner: (cohort, model, record) => this.#learner(cohort, model, record),
      onDamaged: (where, what) => this.#trouble("bad_record", where, what),
    });
  }

  #learner(cohort: Cohort, model: PlanModel, record: CohortRecord): Learner {
    const { store, clock, newId } = this.#deps;
    const steadyMs = () => clock.steadyMs();
    return new Learner(
      {
        cohort: cohort.cohort,
        store,
        lane: this.#lane,
        nowMs: steadyMs,
        newUpdateId: () => newId() as UpdateId,
        devices: () => cohort.devices.values(),
        seed: hash(this.#origin.gatewayId),
        dueRecords: () => cohort.dueRecords(steadyMs()),
        onTrained: (update, tuning) => this.#trained(update, tuning),
        onProblem: (kind, what) => this.#trouble(kind, cohort.cohort, what),
      },
      model,
      record,
    );
  }

  #learners(): Learner[] {
    return [...this.#cohorts.values()].flatMap(({ learner }) => learner ?? []);
  }

  #mayGrowForest(device: DeviceId): boolean {
    const may = this.#forests < MAX_FORESTS;
    if (may) this.#forests++;
    else this.#trouble("forest_limit", device, `a gateway has at most ${MAX_FORESTS} forests; the z-score stays`);
    return may;
  }

  #refuse(where: string, { refused, detail }: Refusal): void {
    this.#refusals.report(refused, where, detail);
  }

  #refuseWord(where: string, { refused, detail }: Refusal): void {
    this.#wordRefusals.report(refused, where, detail);
  }

  #stored<Result>(work: () => Result): Result | null {
    return guarded(work, (error) => this.#storeFailed(error));
  }

  #storeFailed(error: Error): void {
    this.#trouble("store_failed", "agent.sqlite", error.message);
  }
}

/** What does not end in time is left behind; what fails while closing is no longer of interest. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  await Promise.race([work.catch(() => undefined), pause(ms)]);
}
