// What the gateway says about itself: its hello, its status topic, its reports.
import type { Cohort } from "./cohort.ts";
import { type Origin, type OutgoingMessage, statusMessage } from "./core/alert.ts";
import type { AgentStore, UnreportedEpisode } from "./ports/agent-store.ts";
import type { GatewayHealth, Hello, Report } from "./ports/coordinator-link.ts";

const EPISODES_A_REPORT = 200;

export interface SelfReportDeps {
  readonly origin: Origin;
  readonly version: string;
  readonly cohorts: Iterable<Cohort>;
  readonly store: AgentStore;
  readonly rows: () => { readonly judged: number; readonly refused: number; readonly queued: number };
  readonly newId: () => string;
  readonly nowMs: () => number;
}

export class SelfReport {
  readonly #deps: SelfReportDeps;
  #lastSaid = "";

  constructor(deps: SelfReportDeps) {
    this.#deps = deps;
  }

  hello(): Hello {
    const { origin, version, cohorts } = this.#deps;
    const { gatewayId, site } = origin;
    return { gatewayId, site, agentVersion: version, cohorts: Array.from(cohorts, (cohort) => cohort.held()) };
  }

  status(state: "online" | "offline"): OutgoingMessage {
    const { origin, version, cohorts, store, rows, newId, nowMs } = this.#deps;
    const { updates, alerts } = store.outboxBytes();
    return statusMessage(
      origin,
      state,
      { id: newId(), atMs: nowMs() },
      {
        agent_version: version,
        cohorts: Array.from(cohorts, (cohort) => {
          const { planId, globalVersion, devices } = cohort.held();
          return { cohort: cohort.cohort, plan_id: planId, global_version: globalVersion, devices: devices.length };
        }),
        queues: { rows: rows().queued, updates_bytes: updates, alerts_bytes: alerts },
        clock: "unknown",
      },
    );
  }

  /** Null when nothing changed since the last one, unless it was `asked` for. */
  report(asked: boolean): { readonly report: Report; readonly episodes: readonly UnreportedEpisode[] } | null {
    const { store, newId, cohorts } = this.#deps;
    const episodes = store.alerts.unreported(EPISODES_A_REPORT);
    const health = this.#health();
    const held = Array.from(cohorts, (cohort) => cohort.held());
    const said = JSON.stringify([{ ...health, rssBytes: 0 }, held]);
    if (!asked && episodes.length === 0 && said === this.#lastSaid) return null;
    this.#lastSaid = said;
    const report = { reportId: newId(), episodes: episodes.map(({ episode }) => episode), health, cohorts: held };
    return { report, episodes };
  }

  #health(): GatewayHealth {
    const { store, rows } = this.#deps;
    const { updates, alerts } = store.outboxBytes();
    return {
      rows: rows().judged,
      rowsRefused: rows().refused,
      updatesTrained: store.counter("updates_trained"),
      samplesTrained: store.counter("samples_trained"),
      outboxBytes: updates + alerts,
      outboxDropped: store.counter("dropped_update") + store.counter("dropped_alert"),
      rssBytes: process.memoryUsage.rss(),
    };
  }
}
