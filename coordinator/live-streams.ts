// Hears the labelled rows of reference gateways while this coordinator leads, and stores their windows as they close.

import { isLabelColumn } from "../learning/channels.ts";
import { mayLackChannels } from "../learning/front-end.ts";
import { type CohortId, type DeviceId, deviceId } from "../learning/ids.ts";
import type { LiveStreamSettings, Manifest } from "../learning/plan.ts";
import { type Reading, readTelemetry } from "../learning/telemetry/default-mapping.ts";
import { labelOf, type SensorMessage } from "../learning/telemetry/message.ts";
import { isRefusal, type Refusal } from "../learning/telemetry/refusal.ts";
import { readRowLabels } from "../learning/telemetry/row-labels.ts";
import { rowOf } from "../learning/telemetry/row-of.ts";
import type { Logger } from "../runtime/log.ts";
import { pause } from "../runtime/retry.ts";
import type { CohortDirectory } from "./cohort-directory.ts";
import { type ClosedWindow, type LiveRow, LiveWindows } from "./core/live-windows.ts";
import type { Duty } from "./leader.ts";
import type { LiveBroker, LiveBrokerHandlers } from "./ports/live-broker.ts";
import type { LiveDriftStore } from "./ports/live-drift.ts";
import type { LiveWindowStore } from "./ports/live-windows.ts";

/** How often windows that the watermark passed are closed and stored. */
const LOOK_EVERY_MS = 1_000;
const WARN_EVERY_MS = 3_600_000;
/** Closed ones of a stream that wait for a database that is away; then the oldest goes. */
const MAX_WAITING_WINDOWS = 24;

export type LiveProblem = "live_row_refused" | "live_label_refused" | "live_windows_lost" | "live_broker";

export interface LiveDeps {
  readonly directory: Pick<CohortDirectory, "cohorts">;
  readonly windows: Pick<LiveWindowStore, "add" | "lastEndMs">;
  readonly openBroker: (handlers: LiveBrokerHandlers) => LiveBroker;
  readonly report: (kind: LiveProblem, where: string, what: string) => void;
  /** After each window of a stream that nobody had stored before. */
  readonly measure: (cohort: CohortId, device: DeviceId, signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
}

/** What is in memory, of windows that are open, goes when the term ends: whoever leads next begins with the rows to come. */
export function liveStreamsDuty(deps: LiveDeps): Duty {
  return {
    name: "hear live streams",
    everyMs: LOOK_EVERY_MS,
    run: async (signal) => {
      const listener = new LiveListener(deps);
      const broker = deps.openBroker({
        onMessage: (message) => listener.hear(message),
        onProblem: (what) => deps.report("live_broker", "the broker of live streams", what),
      });
      try {
        while (!signal.aborted) {
          await listener.look(signal).catch((error: Error) => {
            if (!signal.aborted) deps.log.warn({ err: error }, "windows of live streams wait for the database");
          });
          broker.follow(listener.topics);
          await pause(LOOK_EVERY_MS, signal);
        }
      } finally {
        await broker.close();
      }
    },
  };
}

const NO_BROKER = "no broker is named (--mqtt, FLEAD_MQTT_URL)";

interface NoLiveDeps extends Pick<LiveDeps, "directory" | "log"> {
  readonly drifts: Pick<LiveDriftStore, "notEvaluated">;
}

/** No broker is named: each cohort with live streams is told of, once a term and then by the hour. */
export function noLiveStreamsDuty({ directory, drifts, log }: NoLiveDeps): Duty {
  return {
    name: "warn of live streams without a broker",
    everyMs: WARN_EVERY_MS,
    run: async () => {
      for (const { cohort, state, federation } of directory.cohorts) {
        if (state !== "active" || federation.live.length === 0) continue;
        const devices = federation.live.map(({ device }) => deviceId(device));
        log.warn({ cohort, devices }, `live streams are not evaluated: ${NO_BROKER}`);
        for (const device of devices) await drifts.notEvaluated(cohort, device, NO_BROKER);
      }
    },
  };
}

interface Stream {
  readonly cohort: CohortId;
  readonly device: DeviceId;
  readonly manifest: Manifest;
  readonly settings: LiveStreamSettings;
  readonly windows: LiveWindows;
  /** Closed and not stored yet, oldest first. */
  waiting: ClosedWindow[];
}

class LiveListener {
  readonly #deps: LiveDeps;
  /** By cohort, plan and settings: where one of them changes the stream begins anew. */
  #streams = new Map<string, Stream>();

  constructor(deps: LiveDeps) {
    this.#deps = deps;
  }

  get topics(): ReadonlySet<string> {
    const each = [...this.#streams.values()];
    return new Set(each.flatMap(({ settings: { topic, labelTopic } }) => [topic, ...(labelTopic ? [labelTopic] : [])]));
  }

  hear(message: SensorMessage): void {
    for (const stream of this.#streams.values()) {
      if (message.topic === stream.settings.topic) this.#hearRow(stream, message);
      if (message.topic === stream.settings.labelTopic) this.#hearLabels(stream, message);
    }
  }

  /** Stores what has closed. Rejects when the database does not answer; what waits for it is tried again. */
  async look(signal: AbortSignal): Promise<void> {
    await this.#followSettings();
    for (const stream of this.#streams.values()) {
      stream.waiting.push(...stream.windows.close());
      this.#bound(stream);
    }
    for (const stream of this.#streams.values()) {
      if (stream.waiting.length > 0) await this.#store(stream, signal);
    }
  }

  async #followSettings(): Promise<void> {
    const now = new Map<string, Stream>();
    for (const { cohort, planId, state, manifest, federation } of this.#deps.directory.cohorts) {
      if (state !== "active") continue;
      for (const settings of federation.live) {
        const key = JSON.stringify([cohort, planId, settings]);
        const known = this.#streams.get(key);
        const device = deviceId(settings.device);
        const begin = async () => new LiveWindows(settings, await this.#deps.windows.lastEndMs(cohort, device));
        now.set(key, known ?? { cohort, device, manifest, settings, windows: await begin(), waiting: [] });
      }
    }
    this.#streams = now;
  }

  async #store(stream: Stream, signal: AbortSignal): Promise<void> {
    const { cohort, device, manifest } = stream;
    const channels = manifest.channels.map(({ name }) => name);
    for (let window = stream.waiting[0]; window !== undefined; window = stream.waiting[0]) {
      const verdict = await this.#deps.windows.add(cohort, device, channels, window);
      stream.waiting.shift();
      if (verdict === "stored") await this.#measure(cohort, device, signal);
    }
  }

  /** One that fails is made up for by the next window. */
  async #measure(cohort: CohortId, device: DeviceId, signal: AbortSignal): Promise<void> {
    await this.#deps.measure(cohort, device, signal).catch((error: Error) => {
      if (!signal.aborted) this.#deps.log.warn({ err: error, cohort, device }, "a live stream could not be measured");
    });
  }

  #bound(stream: Stream): void {
    const lost = stream.waiting.length - MAX_WAITING_WINDOWS;
    if (lost <= 0) return;
    stream.waiting.splice(0, lost);
    this.#deps.report("live_windows_lost", where(stream), `${lost} windows could not be stored; the oldest are gone`);
  }

  #hearRow(stream: Stream, message: SensorMessage): void {
    const row = rowFrom(stream, message);
    if (isRefusal(row)) this.#refuse("live_row_refused", stream, row);
    else {
      const refused = stream.windows.addRow(row, message.receivedAtMs);
      if (refused !== "taken") this.#refuse("live_row_refused", stream, { refused, detail: `row of ${iso(row.atMs)}` });
    }
  }

  #hearLabels(stream: Stream, message: SensorMessage): void {
    const labels = readRowLabels(ofDevice(message, stream.settings));
    if (isRefusal(labels)) this.#refuse("live_label_refused", stream, labels);
    else {
      const refused = stream.windows.addLabels(labels, message.receivedAtMs);
      const detail = `label of ${iso(labels.fromMs)} to ${iso(labels.toMs)}`;
      if (refused !== "taken") this.#refuse("live_label_refused", stream, { refused, detail });
    }
  }

  #refuse(kind: LiveProblem, stream: Stream, { refused, detail }: Readonly<Record<keyof Refusal, string>>): void {
    this.#deps.report(kind, where(stream), `${refused}: ${detail}`);
  }
}

const iso = (atMs: number) => new Date(atMs).toISOString();
const where = ({ cohort, device }: Stream) => `cohort ${cohort}, live stream of ${device}`;

/** The shared readers take the device from the topic; of a live stream the settings name it. */
const ofDevice = (message: SensorMessage, { device }: LiveStreamSettings): SensorMessage => ({
  ...message,
  topic: `${device}/live`,
});

function labelIn({ label, values }: Reading, { labelField }: LiveStreamSettings): 0 | 1 | null {
  return labelField === null || isLabelColumn(labelField) ? label : labelOf(values.get(labelField));
}

function rowFrom({ manifest, settings }: Stream, message: SensorMessage): LiveRow | Refusal {
  const reading = readTelemetry(ofDevice(message, settings));
  if (isRefusal(reading)) return reading;
  const channels = manifest.channels.map(({ name }) => name);
  const values = rowOf(reading, channels, mayLackChannels(manifest.features));
  return values instanceof Float64Array ? { atMs: reading.atMs, values, label: labelIn(reading, settings) } : values;
}
