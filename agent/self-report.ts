// What the gateway says about itself: its hello, its status topic, its reports.
import type { CohortId } from "../learning/ids.ts";
import type { Cohort } from "./cohort.ts";
import { type Origin, type OutgoingMessage, statusMessage } from "./core/alert.ts";
import { isRecent } from "./core/recent.ts";
import type { Ledger } from "./ledger.ts";
import type { AgentStore, QueuedSummaries, Snooze } from "./ports/agent-store.ts";
import type { GatewayClock } from "./ports/clock.ts";
import type { CohortStatistics, GatewayHealth, Hello, Report } from "./ports/coordinator-link.ts";

const EPISODES_A_REPORT = 200;
/** Of the devices whose thresholds operators moved, the status names as many, the largest factors first. */
const SHOWN_FACTORS = 100;
/** Of the alerts that are snoozed, the status names as many, the next to end first. */
const SHOWN_SNOOZES = 100;
/** Each training changes a cohort's statistics a little: those of the same champion and devices are said this often. */
const STATISTICS_MS = 600_000;
/** Counts of rows change all the time: where there is nothing else to report, they are said this often. */
const HEALTH_MS = 30_000;
/** About 2,100 windows of 8 channels; a gateway of 2,000 devices closes 670 in ten seconds. */
const SUMMARY_BYTES_A_REPORT = 1024 * 1024;
/** A backlog leaves no faster than this, however often there is something else to report. */
const SUMMARIES_MS = 5_000;

/** What changes with every report is no reason for the next one. */
const UNREMARKABLE = { rssBytes: 0, storeBytes: 0, flashWrittenToday: null, carriedToday: 0 };

export interface SelfReportDeps {
  readonly origin: Origin;
  readonly version: string;
  readonly cohorts: Iterable<Cohort>;
  readonly store: AgentStore;
  /** The next to end first. */
  readonly snoozed: () => readonly Snooze[];
  readonly ledger: Ledger;
  readonly rows: () => { readonly judged: number; readonly refused: number; readonly queued: number };
  readonly newId: () => string;
  readonly clock: GatewayClock;
}

export class SelfReport {
  readonly #deps: SelfReportDeps;
  #heldSaid = "";
  #healthSaid = { said: "", atMs: Number.NEGATIVE_INFINITY };
  #summariesSaidAtMs = Number.NEGATIVE_INFINITY;
  readonly #statisticsSaid = new Map<CohortId, { readonly statistics: CohortStatistics; readonly atMs: number }>();

  constructor(deps: SelfReportDeps) {
    this.#deps = deps;
  }

  hello(): Hello {
    const { origin, version, cohorts } = this.#deps;
    const { gatewayId, site } = origin;
    return { gatewayId, site, agentVersion: version, cohorts: Array.from(cohorts, (cohort) => cohort.held()) };
  }

  status(state: "online" | "offline"): OutgoingMessage {
    const { origin, version, cohorts, store, ledger, rows, newId, clock } = this.#deps;
    const { updates, alerts, summaries } = store.outboxBytes();
    const { bytes, freeBytes, ballast, unwritable } = store.state();
    const today = ledger.today();
    return statusMessage(
      origin,
      state,
      { id: newId(), atMs: clock.wallMs() },
      {
        agent_version: version,
        cohorts: Array.from(cohorts, (cohort) => {
          const { planId, globalVersion, devices, candidate, previousVersion } = cohort.held();
          return {
            cohort: cohort.cohort,
            plan_id: planId,
            global_version: globalVersion,
            candidate_version: candidate?.globalVersion ?? null,
            previous_version: previousVersion,
            devices: devices.length,
          };
        }),
        moved_thresholds: this.#movedThresholds(),
        snoozed: this.#snoozed(),
        queues: { rows: rows().queued, updates_bytes: updates, alerts_bytes: alerts, summaries_bytes: summaries },
        clock: clock.quality(),
        store: {
          bytes,
          free_bytes: freeBytes,
          ballast,
          unwritable,
          quarantined_files: store.counter("quarantined_file"),
        },
        today: {
          day: today.day,
          flash_written_bytes: today.flashWritten,
          coordinator_sent_bytes: today.coordinatorSent,
          coordinator_received_bytes: today.coordinatorReceived,
          broker_sent_bytes: today.brokerSent,
          broker_received_bytes: today.brokerReceived,
          withheld: ledger.withheld(),
        },
      },
    );
  }

  /** Null when nothing changed since the last one, unless it was `asked` for. */
  report(asked: boolean): { readonly report: Report; readonly answered: () => void } | null {
    const { store, newId, clock, cohorts } = this.#deps;
    const queued = this.#queuedSummaries();
    const episodes = store.alerts.unreported(EPISODES_A_REPORT);
    const health = this.#health();
    const held = Array.from(cohorts, (cohort) => cohort.held());
    const statistics = this.#statistics(asked);
    const quality = clock.quality();
    const nowMs = clock.steadyMs();
    const heldNow = JSON.stringify(held);
    const healthNow = JSON.stringify({ ...health, ...UNREMARKABLE, quality });
    const healthDue = !isRecent(this.#healthSaid.atMs, nowMs, HEALTH_MS) && healthNow !== this.#healthSaid.said;
    const changed = !this.#isSpent() && (heldNow !== this.#heldSaid || healthDue);
    if (!asked && !changed && episodes.length + statistics.length + queued.length === 0) return null;
    this.#heldSaid = heldNow;
    this.#healthSaid = { said: healthNow, atMs: nowMs };
    if (queued.length > 0) this.#summariesSaidAtMs = nowMs;
    for (const told of statistics) this.#statisticsSaid.set(told.cohort, { statistics: told, atMs: nowMs });
    const told = episodes.map(({ episode }) => episode);
    const summaries = queued.map((each) => each.summaries);
    const report = { reportId: newId(), episodes: told, health, clock: quality, cohorts: held, statistics, summaries };
    const answered = () =>
      store.transaction(() => {
        store.alerts.markReported(episodes);
        store.summaries.remove(queued.map(({ sequence }) => sequence));
      });
    return { report, answered };
  }

  #queuedSummaries(): readonly QueuedSummaries[] {
    const { store, ledger, clock } = this.#deps;
    return ledger.withheld().includes("summaries") || isRecent(this.#summariesSaidAtMs, clock.steadyMs(), SUMMARIES_MS)
      ? []
      : store.summaries.oldest(SUMMARY_BYTES_A_REPORT);
  }

  /** Then only what may not wait is a reason to report. */
  #isSpent(): boolean {
    return this.#deps.ledger.withheld().includes("updates");
  }

  /** A round that closes soon should know of another champion's statistics, or of more devices'. */
  statisticsDue(): boolean {
    return this.#statistics(false).length > 0;
  }

  /** What operators made of devices' thresholds, where it is not 1. */
  #movedThresholds(): { readonly devices: number; readonly factors: Readonly<Record<string, number>> } {
    const moved = Array.from(this.#deps.cohorts, ({ devices }) => [...devices.values()])
      .flat()
      .filter(({ operatorFactor }) => operatorFactor !== 1)
      .sort((a, b) => b.operatorFactor - a.operatorFactor);
    const shown = moved.slice(0, SHOWN_FACTORS).map(({ deviceId, operatorFactor }) => [deviceId, operatorFactor]);
    return { devices: moved.length, factors: Object.fromEntries(shown) };
  }

  #snoozed(): { readonly alerts: number; readonly until: Readonly<Record<string, string>> } {
    const snoozes = this.#deps.snoozed();
    const shown = snoozes.slice(0, SHOWN_SNOOZES).map(({ deviceId, kind, untilMs }) => {
      return [`${deviceId}/${kind}`, new Date(untilMs).toISOString()];
    });
    return { alerts: snoozes.length, until: Object.fromEntries(shown) };
  }

  #statistics(asked: boolean): CohortStatistics[] {
    return Array.from(this.#deps.cohorts, (cohort) => {
      const statistics = asked || this.#isDue(cohort) ? cohort.statistics() : null;
      const said = this.#statisticsSaid.get(cohort.cohort)?.statistics;
      return asked || statistics !== said ? statistics : null;
    }).filter((statistics) => statistics !== null);
  }

  #isDue({ cohort, learner, calibratedDevices }: Cohort): boolean {
    const last = this.#statisticsSaid.get(cohort);
    if (last === undefined || !isRecent(last.atMs, this.#deps.clock.steadyMs(), STATISTICS_MS)) return true;
    const { planId, globalVersion, devices } = last.statistics;
    const alike = learner?.plan.planId === planId && learner.slot?.globalVersion === globalVersion;
    return !alike || calibratedDevices !== devices;
  }

  #health(): GatewayHealth {
    const { store, ledger, rows } = this.#deps;
    const { updates, alerts, summaries } = store.outboxBytes();
    const { flashWritten, coordinatorSent, coordinatorReceived } = ledger.today();
    return {
      rows: rows().judged,
      rowsRefused: rows().refused,
      updatesTrained: store.counter("updates_trained"),
      samplesTrained: store.counter("samples_trained"),
      outboxBytes: updates + alerts + summaries,
      outboxDropped: store.counter("dropped_update") + store.counter("dropped_alert"),
      rssBytes: process.memoryUsage.rss(),
      windowsDropped: store.counter("dropped_window"),
      quarantinedFiles: store.counter("quarantined_file"),
      storeBytes: store.state().bytes,
      flashWrittenToday: flashWritten,
      carriedToday: coordinatorSent + coordinatorReceived,
      withheld: ledger.withheld(),
    };
  }
}
