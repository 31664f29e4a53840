// Whether a window that a gateway tells can be kept; what can't is refused with the reason.
import { isChannelName, isLabel } from "../../learning/channels.ts";
import { type CohortId, type DeviceId, deviceId } from "../../learning/ids.ts";

/** One channel of one device in one window; it has at least one sample. */
export interface CheckedWindow {
  readonly cohort: CohortId;
  readonly deviceId: DeviceId;
  readonly metricName: string;
  readonly startMs: number;
  readonly windowMs: number;
  readonly samples: number;
  readonly mean: number;
  /** Population standard deviation. */
  readonly stddev: number;
  readonly min: number;
  readonly max: number;
  readonly last: number;
  /** Of the last value; null: it was not judged. */
  readonly zScore: number | null;
  /** The highest confidence of an anomaly of the device that was up in the window; null: none was. */
  readonly anomalyConfidence: number | null;
  readonly lateRows: number;
}

/** As the wire has it. */
export interface ToldWindow {
  readonly deviceId: string;
  readonly startMs: bigint;
  readonly anomalyConfidence?: number | undefined;
  readonly lateRows: number;
  readonly counts: readonly number[];
  readonly means: readonly number[];
  readonly deviations: readonly number[];
  readonly minima: readonly number[];
  readonly maxima: readonly number[];
  readonly last: readonly number[];
  readonly z: readonly number[];
}

export interface WindowsContext {
  readonly cohort: CohortId;
  readonly windowMs: number;
  readonly channels: readonly string[];
  readonly nowMs: number;
  /** Older windows are not kept. */
  readonly keptMs: number;
}

export interface WindowRefusal {
  readonly refused: "window_malformed" | "window_future" | "window_expired";
  readonly detail: string;
}

const WINDOWS_MS: readonly number[] = [30_000, 300_000];
const MAX_CHANNELS = 1_000;
const MAX_MAGNITUDE = 1e30;
/** Clocks of gateways and devices may be wrong by so much. */
const MAX_AHEAD_MS = 86_400_000;
const MAX_ROWS = 0x7fffffff;

/** Null: windows of this length and these channels can be kept. */
export function refuseChannels(channels: readonly string[], windowMs: number): WindowRefusal | null {
  if (!WINDOWS_MS.includes(windowMs)) {
    return malformed(`windows of ${windowMs} ms; allowed are ${WINDOWS_MS.join(" and ")}`);
  }
  const usable = channels.every((channel) => isChannelName(channel) && !isLabel(channel));
  if (channels.length === 0 || channels.length > MAX_CHANNELS || !usable || new Set(channels).size < channels.length) {
    return malformed(`its channels are not 1 to ${MAX_CHANNELS} different channel names`);
  }
  return null;
}

/** The window's channels that have samples. */
export function checkWindow(told: ToldWindow, context: WindowsContext): CheckedWindow[] | WindowRefusal {
  const { channels, windowMs, nowMs, keptMs } = context;
  const startMs = Number(told.startMs);
  if (startMs % windowMs !== 0 || startMs > 8.64e15)
    return malformed(`its start ${startMs} is no multiple of ${windowMs}`);
  const start = `its start ${new Date(startMs).toISOString()}`;
  if (startMs > nowMs + MAX_AHEAD_MS) return { refused: "window_future", detail: `${start} is more than a day ahead` };
  if (startMs < nowMs - keptMs) return { refused: "window_expired", detail: `${start} is older than what is kept` };
  const { counts, means, deviations, minima, maxima, last, z, anomalyConfidence = null, lateRows } = told;
  const lists = [counts, means, deviations, minima, maxima, last, z];
  if (lists.some((list) => list.length !== channels.length))
    return malformed("its lists are not as long as its channels");
  if (anomalyConfidence !== null && !(anomalyConfidence >= 0 && anomalyConfidence <= 1)) {
    return malformed(`its confidence is ${anomalyConfidence}; allowed is 0 to 1`);
  }
  try {
    const device = deviceId(told.deviceId);
    const about = { cohort: context.cohort, deviceId: device, startMs, windowMs, anomalyConfidence };
    const checked = channels.map((metricName, at) => ({
      ...about,
      metricName,
      lateRows: Math.min(lateRows, MAX_ROWS),
      samples: Number(counts[at]),
      mean: Number(means[at]),
      stddev: Number(deviations[at]),
      min: Number(minima[at]),
      max: Number(maxima[at]),
      last: Number(last[at]),
      zScore: Number.isFinite(z[at]) ? Number(z[at]) : null,
    }));
    const sampled = checked.filter(({ samples }) => samples > 0);
    const wrong = sampled.find((channel) => !isPossible(channel));
    return wrong === undefined ? sampled : malformed(`the statistics of its channel ${wrong.metricName} cannot be`);
  } catch (error) {
    return malformed((error as Error).message);
  }
}

const malformed = (detail: string): WindowRefusal => ({ refused: "window_malformed", detail });

/** A row a millisecond at most, mean and last within the extremes, a spread that fits between them. */
function isPossible({ samples, windowMs, mean, stddev, min, max, last }: CheckedWindow): boolean {
  if (samples > windowMs || !(min >= -MAX_MAGNITUDE && max <= MAX_MAGNITUDE)) return false;
  const within = (value: number) => value >= min && value <= max;
  // A deviation of float32 may be rounded up.
  return within(mean) && within(last) && stddev >= 0 && stddev <= (max - min) * (1 + 1e-6);
}
