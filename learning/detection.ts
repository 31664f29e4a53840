// Everything about one detector on labelled series: its rows, its alarms against the events, and how its scores rank.
import { type EventScores, matchEvents, runsOf, summariseEvents } from "./events.ts";
import { type Scores, summarise } from "./metrics.ts";
import { vusPr } from "./vus.ts";

/** What a detector said of n consecutive rows of one series; every array has length n, any flag but 0 is set. */
export interface DetectedSeries {
  /** Relative to the series' own threshold: series are ranked together. */
  readonly scores: Float64Array;
  readonly predictions: Uint8Array;
  /** An alarm is active after the row. */
  readonly alarms: Uint8Array;
  readonly labels: Uint8Array;
  /** Row times, epoch milliseconds. */
  readonly atMs: readonly number[];
}

export interface DetectionScores extends Scores {
  /** An event cut off by the series' first row counts from there. Null: not measured. */
  readonly events: EventScores | null;
  /** With buffers up to the events' median length; null when a class is missing, or not measured. */
  readonly vusPr: number | null;
}

/** Series pooled. Throws RangeError as `summarise`, `matchEvents` and `vusPr` do. `loss` is passed through. */
export function summariseDetection(series: readonly DetectedSeries[], loss: number | null): DetectionScores {
  const pooled = (flags: (each: DetectedSeries) => Uint8Array) =>
    Uint8Array.from(series.flatMap((each) => [...flags(each)]));
  const events = series.map(({ labels }) => runsOf(labels));
  const outcomes = series.map(({ alarms, atMs }, i) =>
    matchEvents({ events: events[i] ?? [], episodes: runsOf(alarms), atMs }),
  );
  const lengths = events.flat().map(({ begin, end }) => end - begin);
  return {
    ...summarise({
      predictions: pooled(({ predictions }) => predictions),
      scores: Float64Array.from(series.flatMap(({ scores }) => [...scores])),
      labels: pooled(({ labels }) => labels),
      loss,
    }),
    events: summariseEvents(outcomes),
    vusPr: vusPr(series, { maxBufferRows: upperMedian(lengths) }),
  };
}

/** A length that occurs; 0 for none. */
const upperMedian = (lengths: readonly number[]) => lengths.toSorted((a, b) => a - b)[lengths.length >> 1] ?? 0;
