// The agent's figures for Prometheus. Labels are kinds, of which there are few; no device, topic or cohort is one.
import { type Metric, prometheusText } from "../runtime/prometheus.ts";
import type { DayBytes, Withheld } from "./core/day-bytes.ts";
import { KEEPING_ORDER } from "./core/keeping.ts";
import type { Counter, StoreState } from "./ports/agent-store.ts";

export interface AgentFigures {
  readonly version: string;
  readonly healthy: boolean;
  readonly startedAtMs: number;
  readonly messages: number;
  readonly rowsJudged: number;
  readonly rowsWaiting: number;
  readonly refusals: ReadonlyMap<string, number>;
  readonly wordRefusals: ReadonlyMap<string, number>;
  readonly troubles: ReadonlyMap<string, number>;
  /** By the detector that serves them. */
  readonly devices: ReadonlyMap<string, number>;
  readonly episodeChanges: number;
  readonly brokerConnected: boolean;
  readonly coordinatorConnected: boolean;
  readonly loopLagMs: number;
  readonly rssBytes: number;
  readonly outboxBytes: Readonly<Record<"updates" | "alerts" | "summaries", number>>;
  readonly counter: (name: Counter) => number;
  readonly store: StoreState;
  readonly today: DayBytes;
  readonly withheld: readonly Withheld[];
}

export const agentMetrics = (figures: AgentFigures): string =>
  prometheusText([...intake(figures), ...detection(figures), ...connections(figures), ...keeping(figures)]);

type Value = Metric["value"];

const gauge = (name: string, help: string, value: Value): Metric => ({
  name: `flead_agent_${name}`,
  type: "gauge",
  help,
  value,
});
const counter = (name: string, help: string, value: Value): Metric => ({
  name: `flead_agent_${name}_total`,
  type: "counter",
  help,
  value,
});
const by = (label: string, of: Iterable<readonly [string, number | null]>) => ({ label, of });

const intake = (figures: AgentFigures): Metric[] => [
  gauge("info", "Always 1.", by("version", [[figures.version, 1]])),
  gauge("healthy", "1 where /healthz answers 200.", Number(figures.healthy)),
  gauge("start_time_seconds", "When it started, since 1970.", figures.startedAtMs / 1000),
  counter("messages", "MQTT messages received since the start.", figures.messages),
  counter("rows_judged", "Rows that a detector took, since the start.", figures.rowsJudged),
  counter("readings_refused", "Since the start.", by("kind", figures.refusals)),
  counter(
    "words_refused",
    "Labels and words on alerts that were refused, since the start.",
    by("kind", figures.wordRefusals),
  ),
  counter("troubles", "What else went wrong since the start, as logged.", by("kind", figures.troubles)),
  gauge("rows_waiting", "Rows that wait to be judged.", figures.rowsWaiting),
  gauge(
    "loop_lag_seconds",
    "The longest that the event loop stood still in the last minute.",
    figures.loopLagMs / 1000,
  ),
  gauge("resident_memory_bytes", "Resident set size.", figures.rssBytes),
];

const detection = (figures: AgentFigures): Metric[] => [
  gauge("devices", "Devices by the detector that serves them.", by("detector", figures.devices)),
  gauge("episodes_active", "Anomalies that are up.", figures.store.activeEpisodes),
  counter(
    "episode_changes",
    "Episodes raised, updated, cleared or acknowledged since the start.",
    figures.episodeChanges,
  ),
];

const connections = ({ brokerConnected, coordinatorConnected, today, withheld }: AgentFigures): Metric[] => [
  gauge(
    "connected",
    "1 where the connection stands.",
    by("to", [
      ["broker", Number(brokerConnected)],
      ["coordinator", Number(coordinatorConnected)],
    ]),
  ),
  gauge(
    "today_sent_bytes",
    "Sent since midnight UTC.",
    by("to", [
      ["broker", today.brokerSent],
      ["coordinator", today.coordinatorSent],
    ]),
  ),
  gauge(
    "today_received_bytes",
    "Received since midnight UTC.",
    by("from", [
      ["broker", today.brokerReceived],
      ["coordinator", today.coordinatorReceived],
    ]),
  ),
  gauge(
    "withheld",
    "1 where it waits for the next day's budget.",
    by("kind", [
      ["summaries", Number(withheld.includes("summaries"))],
      ["updates", Number(withheld.includes("updates"))],
    ]),
  ),
];

const keeping = ({ outboxBytes, counter: count, store, today }: AgentFigures): Metric[] => [
  gauge("outbox_bytes", "What waits to be sent.", by("kind", Object.entries(outboxBytes))),
  counter("updates_trained", "Since the gateway was set up.", count("updates_trained")),
  counter("samples_trained", "Since the gateway was set up.", count("samples_trained")),
  counter(
    "dropped",
    "What left its queue unsent since the gateway was set up; superseded: a newer one says it all.",
    by("kind", [
      ["updates", count("dropped_update")],
      ["alerts", count("dropped_alert")],
      ["windows", count("dropped_window")],
      ["superseded_updates", count("superseded_update")],
    ]),
  ),
  counter("quarantined_files", "Damaged database files that were set aside.", count("quarantined_file")),
  gauge("store_bytes", "agent.sqlite with its journal.", store.bytes),
  gauge("disk_free_bytes", "Left on its disk.", store.freeBytes),
  gauge("ballast", "1 where the ballast is there.", store.ballast === null ? null : Number(store.ballast)),
  gauge(
    "unwritable",
    "1 where the last write failed, a minute ago at most.",
    by(
      "kind",
      KEEPING_ORDER.map((kind) => [kind, Number(store.unwritable.includes(kind))]),
    ),
  ),
  gauge("today_flash_written_bytes", "Written to disk by the process since midnight UTC.", today.flashWritten),
];
