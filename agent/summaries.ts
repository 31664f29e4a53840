// What the coordinator is told of a device's rows: their windows, queued for the reports as they close.
import type { CohortId, DeviceId } from "../learning/ids.ts";
import type { Reading } from "../learning/telemetry/default-mapping.ts";
import { isRefusal } from "../learning/telemetry/refusal.ts";
import type { Cohort } from "./cohort.ts";
import { isRecent } from "./core/recent.ts";
import { DeviceWindows, type WindowRow, type WindowSettings, type WindowSummary } from "./core/windows.ts";
import type { JudgedRow } from "./judge-rows.ts";
import type { OpenWindows, SummaryStore } from "./ports/agent-store.ts";
import type { DeviceWindow, WindowSummaries } from "./ports/coordinator-link.ts";

const MAX_UNSAVED_WINDOWS = 1_000;
/** What leaves the queue at a time when it is full. */
const WINDOWS_AN_ENTRY = 50;

export interface SummariesDeps {
  readonly settings: WindowSettings;
  readonly store: SummaryStore;
  readonly nowMs: () => number;
}

interface SummarisedRow extends WindowRow {
  readonly cohort: CohortId;
  readonly deviceId: DeviceId;
  readonly channels: readonly string[];
  /** The device's clock was set back before this row. */
  readonly steppedBack: boolean;
}

interface DeviceState {
  readonly cohort: CohortId;
  readonly channels: readonly string[];
  readonly windows: DeviceWindows;
  heardAtMs: number;
}

interface ClosedWindow extends DeviceWindow {
  readonly cohort: CohortId;
  readonly channels: readonly string[];
}

/** As many devices as it is told of; at most 1,000 closed windows are not in the store yet. */
export class Summaries {
  readonly #deps: SummariesDeps;
  readonly #devices = new Map<DeviceId, DeviceState>();
  #closed: ClosedWindow[] = [];

  constructor(deps: SummariesDeps) {
    this.#deps = deps;
  }

  /** Takes up the windows that were open when the agent stopped; those of other settings are dropped. */
  restore(): void {
    const { store, settings, nowMs } = this.#deps;
    for (const { deviceId, cohort, windowMs, channels, snapshot } of store.takeOpen()) {
      if (windowMs !== settings.windowMs) continue;
      const windows = DeviceWindows.restore(snapshot, channels.length, settings);
      this.#devices.set(deviceId, { cohort, channels, windows, heardAtMs: nowMs() });
    }
  }

  judged({ cohort }: Cohort, { entered, observation, z }: JudgedRow): void {
    const { device, row: values, atMs, steppedBack } = entered;
    const anomaly = observation?.active ? observation.confidence : null;
    const { deviceId, channelNames: channels } = device;
    this.#observe({ cohort, deviceId, channels, atMs, values, z, anomaly, steppedBack });
  }

  /** No detector can take a row that is older than the device's last one; a window can. */
  unjudged({ cohort, devices }: Cohort, reading: Reading): void {
    const { deviceId, atMs } = reading;
    const device = devices.get(deviceId);
    const values = device?.rowOf(reading);
    if (device === undefined || values === undefined || isRefusal(values)) return;
    const channels = device.channelNames;
    this.#observe({ cohort, deviceId, channels, atMs, values, z: null, anomaly: null, steppedBack: false });
  }

  /** Closes the windows of devices that have fallen silent, and queues what has closed. */
  flush(): void {
    const { settings, nowMs } = this.#deps;
    for (const [deviceId, device] of this.#devices) {
      if (device.windows.isEmpty) continue;
      if (isRecent(device.heardAtMs, nowMs(), settings.windowMs + settings.latenessMs)) continue;
      this.#take(deviceId, device, device.windows.closeAll());
    }
    this.#queue();
  }

  /** Queues what has closed and saves what is open. */
  save(): void {
    const { store, settings } = this.#deps;
    this.#queue();
    const open = Array.from(this.#devices).flatMap(([deviceId, { cohort, channels, windows }]): OpenWindows[] =>
      windows.isEmpty
        ? []
        : [{ deviceId, cohort, windowMs: settings.windowMs, channels, snapshot: windows.snapshot() }],
    );
    store.saveOpen(open);
  }

  #observe(row: SummarisedRow): void {
    const device = this.#deviceOf(row);
    device.heardAtMs = this.#deps.nowMs();
    if (row.steppedBack && device.windows.isLate(row.atMs)) this.#take(row.deviceId, device, device.windows.restart());
    this.#take(row.deviceId, device, device.windows.add(row));
  }

  /** A device whose channels change begins anew: what was open closes. */
  #deviceOf({ deviceId, cohort, channels }: SummarisedRow): DeviceState {
    const known = this.#devices.get(deviceId);
    if (known?.cohort === cohort && sameNames(known.channels, channels)) return known;
    if (known !== undefined) this.#take(deviceId, known, known.windows.closeAll());
    const windows = new DeviceWindows(channels.length, this.#deps.settings);
    const begun = { cohort, channels, windows, heardAtMs: this.#deps.nowMs() };
    this.#devices.set(deviceId, begun);
    return begun;
  }

  #take(deviceId: DeviceId, { cohort, channels }: DeviceState, closed: readonly WindowSummary[]): void {
    for (const window of closed) this.#closed.push({ ...window, deviceId, cohort, channels });
    if (this.#closed.length >= MAX_UNSAVED_WINDOWS) this.#queue();
  }

  #queue(): void {
    const closed = this.#closed;
    this.#closed = []; // also when the store fails: what it can't keep is not kept in memory for it
    if (closed.length > 0) this.#deps.store.add(entriesOf(closed, this.#deps.settings.windowMs));
  }
}

const sameNames = (a: readonly string[], b: readonly string[]) =>
  a === b || (a.length === b.length && a.every((name, index) => name === b[index]));

/** Windows of the same cohort and channels together, at most 50 an entry. */
function entriesOf(closed: readonly ClosedWindow[], windowMs: number): WindowSummaries[] {
  const entries: WindowSummaries[] = [];
  const filling = new Map<string, DeviceWindow[]>();
  for (const { cohort, channels, ...window } of closed) {
    const key = JSON.stringify([cohort, channels]);
    const windows = filling.get(key);
    if (windows !== undefined && windows.length < WINDOWS_AN_ENTRY) {
      windows.push(window);
      continue;
    }
    const begun = [window];
    filling.set(key, begun);
    entries.push({ cohort, windowMs, channels, windows: begun });
  }
  return entries;
}
