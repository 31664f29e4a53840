// Readings added up: of workers side by side, and of one fleet over time.
import { QuantileSketch } from "../../learning/sketch.ts";
import { type Arrival, addCounts, MAX_VERSIONS, type Reading } from "./meter.ts";

/** All workers' readings of one moment as one. Throws RangeError for none. */
export function sideBySide(readings: readonly Reading[]): Reading {
  const sum = (value: (reading: Reading) => number) => readings.reduce((total, reading) => total + value(reading), 0);
  return readings.reduce((a, b) => ({
    ...together(a, b),
    sessionsOpen: sum(({ sessionsOpen }) => sessionsOpen),
    ready: sum(({ ready }) => ready),
    unanswered: sum(({ unanswered }) => unanswered),
  }));
}

/** What happened in both; where things stand, as `later` has it. */
export function oneAfterTheOther(earlier: Reading, later: Reading): Reading {
  const { sessionsOpen, ready, unanswered } = later;
  return { ...together(earlier, later), sessionsOpen, ready, unanswered };
}

function together(a: Reading, b: Reading): Omit<Reading, "sessionsOpen" | "ready" | "unanswered"> {
  const latency = QuantileSketch.deserialise(a.latencyMs);
  latency.merge(QuantileSketch.deserialise(b.latencyMs));
  const times = [a.lastAcknowledgedMs, b.lastAcknowledgedMs].filter((ms) => ms !== null);
  return {
    counts: addCounts(a.counts, b.counts),
    latencyMs: latency.serialise(),
    arrivals: allArrivals(a.arrivals, b.arrivals),
    lastAcknowledgedMs: times.length > 0 ? Math.max(...times) : null,
    plan: b.plan ?? a.plan,
    lastRefusal: b.lastRefusal ?? a.lastRefusal,
  };
}

/** By version, the newest `MAX_VERSIONS`. */
function allArrivals(a: readonly Arrival[], b: readonly Arrival[]): Arrival[] {
  const byVersion = Map.groupBy([...a, ...b], ({ version }) => version);
  return Array.from(byVersion.values(), (parts) =>
    parts.reduce((one, other) => ({
      version: one.version,
      sessions: one.sessions + other.sessions,
      firstMs: Math.min(one.firstMs, other.firstMs),
      lastMs: Math.max(one.lastMs, other.lastMs),
      sumMs: one.sumMs + other.sumMs,
    })),
  )
    .toSorted((one, other) => one.version - other.version)
    .slice(-MAX_VERSIONS);
}

export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Milliseconds from an update's first sending to its acknowledgement; null: none was acknowledged. */
export function latencyOf({ latencyMs }: Reading): Latency | null {
  const sketch = QuantileSketch.deserialise(latencyMs);
  const [p50, p99, max] = [0.5, 0.99, 1].map((q) => sketch.quantile(q));
  return p50 == null || p99 == null || max == null ? null : { p50, p99, max };
}

export const acknowledged = ({ counts: { accepted, known } }: Reading) => accepted + known;

/** What an acknowledged update has of it; null where there was none. */
export function perUpdate(reading: Reading, what: "bytesSent" | "bytesReceived" | "cpuMs"): number | null {
  const updates = acknowledged(reading);
  return updates === 0 ? null : reading.counts[what] / updates;
}
