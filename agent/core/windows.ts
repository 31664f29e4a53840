// Tumbling windows over one device's rows, by row time: what each channel was in a window, said once its rows are in.

export interface WindowSettings {
  readonly windowMs: number;
  /** A row so much older than the device's newest one still counts. */
  readonly latenessMs: number;
}

export interface WindowRow {
  readonly atMs: number;
  /** NaN: the channel is missing. */
  readonly values: Float64Array;
  /** Each channel's deviation in standard deviations, as the device's detector has it; null: it did not judge the row. */
  readonly z: Float64Array | null;
  /** Confidence of the anomaly that is up; null: none is. */
  readonly anomaly: number | null;
}

/** A closed window. The lists hold a value a channel, in the device's order; where the count is 0 the others mean nothing. */
export interface WindowSummary {
  readonly startMs: number;
  /** The highest confidence of an anomaly that was up in it; null: none was. */
  readonly anomaly: number | null;
  /** Rows that came after their window had closed, since the window that was said before. */
  readonly lateRows: number;
  readonly counts: Uint32Array;
  readonly means: Float64Array;
  /** Population standard deviations. */
  readonly deviations: Float32Array;
  readonly minima: Float64Array;
  readonly maxima: Float64Array;
  /** By row time. */
  readonly last: Float64Array;
  /** Of the last value; NaN: its row was not judged. */
  readonly z: Float32Array;
}

interface ChannelState {
  count: number;
  mean: number;
  /** Sum of squared deviations from the mean. */
  squares: number;
  min: number;
  max: number;
  last: number;
  lastAtMs: number;
  z: number;
}

interface OpenWindow {
  readonly startMs: number;
  anomaly: number | null;
  /** Row times in ascending order, so that a row that is sent twice counts once. */
  readonly timesMs: number[];
  readonly channels: ChannelState[];
}

/** Structured-clonable. */
export interface WindowsSnapshot {
  readonly newestMs: number;
  readonly closedBeforeMs: number;
  readonly lateRows: number;
  readonly open: readonly OpenWindow[];
}

/** Time only goes forward; open are at most the windows that the lateness spans, and two more. */
export class DeviceWindows {
  readonly #channels: number;
  readonly #settings: WindowSettings;
  #newestMs = Number.NEGATIVE_INFINITY;
  #closedBeforeMs = Number.NEGATIVE_INFINITY;
  #lateRows = 0;
  #open: OpenWindow[] = [];

  constructor(channels: number, settings: WindowSettings) {
    this.#channels = channels;
    this.#settings = settings;
  }

  static restore(snapshot: WindowsSnapshot, channels: number, settings: WindowSettings): DeviceWindows {
    const windows = new DeviceWindows(channels, settings);
    windows.#newestMs = snapshot.newestMs;
    windows.#closedBeforeMs = snapshot.closedBeforeMs;
    windows.#lateRows = snapshot.lateRows;
    windows.#open = [...snapshot.open];
    return windows;
  }

  /** The window of that time has closed. */
  isLate(atMs: number): boolean {
    return this.#startOf(atMs) < this.#closedBeforeMs;
  }

  /** The windows that this row closes, oldest first. */
  add(row: WindowRow): WindowSummary[] {
    if (this.isLate(row.atMs)) {
      this.#lateRows++;
      return [];
    }
    const window = this.#windowOf(row.atMs);
    if (!enterTime(window.timesMs, row.atMs)) return [];
    if (row.anomaly !== null) window.anomaly = Math.max(row.anomaly, window.anomaly ?? 0);
    window.channels.forEach((channel, index) => {
      const value = Number(row.values[index]);
      if (!Number.isNaN(value)) enterValue(channel, value, row.atMs, row.z?.[index] ?? Number.NaN);
    });
    this.#newestMs = Math.max(this.#newestMs, row.atMs);
    return this.#closeBefore(this.#startOf(this.#newestMs - this.#settings.latenessMs));
  }

  /** Closes every window: the device has fallen silent. */
  closeAll(): WindowSummary[] {
    return this.#closeBefore(this.#startOf(this.#newestMs) + this.#settings.windowMs);
  }

  /** Closes every window and forgets the time: the device's clock was set back. */
  restart(): WindowSummary[] {
    const closed = this.closeAll();
    this.#newestMs = Number.NEGATIVE_INFINITY;
    this.#closedBeforeMs = Number.NEGATIVE_INFINITY;
    return closed;
  }

  get isEmpty(): boolean {
    return this.#open.length === 0;
  }

  snapshot(): WindowsSnapshot {
    return {
      newestMs: this.#newestMs,
      closedBeforeMs: this.#closedBeforeMs,
      lateRows: this.#lateRows,
      open: this.#open,
    };
  }

  #startOf(atMs: number): number {
    return Math.floor(atMs / this.#settings.windowMs) * this.#settings.windowMs;
  }

  #windowOf(atMs: number): OpenWindow {
    const startMs = this.#startOf(atMs);
    const open = this.#open.find((window) => window.startMs === startMs);
    if (open !== undefined) return open;
    const channels = Array.from({ length: this.#channels }, emptyChannel);
    const begun = { startMs, anomaly: null, timesMs: [], channels };
    this.#open.push(begun);
    return begun;
  }

  #closeBefore(endMs: number): WindowSummary[] {
    if (!(endMs > this.#closedBeforeMs)) return [];
    this.#closedBeforeMs = endMs;
    const closed = this.#open.filter(({ startMs }) => startMs < endMs).sort((a, b) => a.startMs - b.startMs);
    if (closed.length === 0) return [];
    this.#open = this.#open.filter(({ startMs }) => startMs >= endMs);
    const [first, ...others] = closed.map((window) => summaryOf(window, 0));
    const lateRows = this.#lateRows;
    this.#lateRows = 0;
    return first === undefined ? [] : [{ ...first, lateRows }, ...others];
  }
}

const emptyChannel = (): ChannelState => ({
  count: 0,
  mean: 0,
  squares: 0,
  min: Number.POSITIVE_INFINITY,
  max: Number.NEGATIVE_INFINITY,
  last: 0,
  lastAtMs: Number.NEGATIVE_INFINITY,
  z: Number.NaN,
});

/** False, and nothing changes, when the time is among them. */
function enterTime(timesMs: number[], atMs: number): boolean {
  let place = timesMs.length;
  while (place > 0 && Number(timesMs[place - 1]) > atMs) place--;
  if (timesMs[place - 1] === atMs) return false;
  timesMs.splice(place, 0, atMs);
  return true;
}

/** Welford 1962. */
function enterValue(channel: ChannelState, value: number, atMs: number, z: number): void {
  const distance = value - channel.mean;
  channel.count++;
  channel.mean += distance / channel.count;
  channel.squares += distance * (value - channel.mean);
  channel.min = Math.min(channel.min, value);
  channel.max = Math.max(channel.max, value);
  if (atMs < channel.lastAtMs) return;
  channel.last = value;
  channel.lastAtMs = atMs;
  channel.z = z;
}

function summaryOf({ startMs, anomaly, channels }: OpenWindow, lateRows: number): WindowSummary {
  const of = (value: (channel: ChannelState) => number) =>
    channels.map((channel) => (channel.count > 0 ? value(channel) : 0));
  return {
    startMs,
    anomaly,
    lateRows,
    counts: Uint32Array.from(of(({ count }) => count)),
    means: Float64Array.from(of(({ mean, min, max }) => Math.min(max, Math.max(min, mean)))), // rounding can leave them
    deviations: Float32Array.from(of(({ squares, count }) => Math.sqrt(squares / count))),
    minima: Float64Array.from(of(({ min }) => min)),
    maxima: Float64Array.from(of(({ max }) => max)),
    last: Float64Array.from(of(({ last }) => last)),
    z: Float32Array.from(of(({ z }) => z)),
  };
}
