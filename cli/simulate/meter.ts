// Counts what a worker's sessions send and hear, in memory that does not grow with the run.
import type { Update, UpdateStatus } from "../../agent/ports/coordinator-link.ts";
import { QuantileSketch } from "../../learning/sketch.ts";

/** Champions whose arrivals are kept, the newest. */
export const MAX_VERSIONS = 64;

/** What is added up over time and over workers. */
export interface Counts {
  /** Sessions that were welcomed, that ended, and attempts that did not come so far. */
  readonly sessionsOpened: number;
  readonly sessionsLost: number;
  readonly attemptsFailed: number;
  readonly drains: number;
  readonly plansFetched: number;
  /** Updates that were made, and of those that could not be because as many as allowed were unanswered. */
  readonly updatesMade: number;
  readonly updatesHeldBack: number;
  /** Sendings: an update that is sent again counts in both. */
  readonly updatesSent: number;
  readonly updatesSentAgain: number;
  readonly accepted: number;
  /** Acknowledged as known: an earlier sending was stored, its answer was lost. */
  readonly known: number;
  readonly refused: number;
  readonly toldToRetry: number;
  /** Sum of n_new over accepted and known updates. */
  readonly samplesAcknowledged: number;
  readonly reportsSent: number;
  readonly reportsAnswered: number;
  readonly feedback: number;
  readonly championsReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Of the worker processes. */
  readonly cpuMs: number;
}

export const NO_COUNTS: Counts = {
  sessionsOpened: 0,
  sessionsLost: 0,
  attemptsFailed: 0,
  drains: 0,
  plansFetched: 0,
  updatesMade: 0,
  updatesHeldBack: 0,
  updatesSent: 0,
  updatesSentAgain: 0,
  accepted: 0,
  known: 0,
  refused: 0,
  toldToRetry: 0,
  samplesAcknowledged: 0,
  reportsSent: 0,
  reportsAnswered: 0,
  feedback: 0,
  championsReceived: 0,
  bytesSent: 0,
  bytesReceived: 0,
  cpuMs: 0,
};

export const addCounts = (a: Counts, b: Counts): Counts =>
  Object.fromEntries(
    Object.keys(NO_COUNTS).map((key) => [key, a[key as keyof Counts] + b[key as keyof Counts]]),
  ) as unknown as Counts;

/** One champion's way to the sessions, by the wall clock. */
export interface Arrival {
  readonly version: number;
  readonly sessions: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly sumMs: number;
}

export interface Reading {
  readonly counts: Counts;
  readonly sessionsOpen: number;
  /** Sessions whose gateway holds plan and champion. */
  readonly ready: number;
  readonly unanswered: number;
  /** Milliseconds from an update's first sending to its acknowledgement: a serialised QuantileSketch. */
  readonly latencyMs: Uint8Array;
  /** Newest last; only promotions while the session was open, not what a hello brings. */
  readonly arrivals: readonly Arrival[];
  /** Wall clock; null: none. */
  readonly lastAcknowledgedMs: number | null;
  /** Of the plan in use; null: none fetched yet. */
  readonly plan: { readonly parameters: number; readonly encoding: string; readonly updateBytes: number } | null;
  /** The latest refusal's words; null: none was refused. */
  readonly lastRefusal: string | null;
}

interface Unanswered {
  readonly sentMs: number;
  readonly samples: number;
}

const emptyLatency = (seed: number) => QuantileSketch.empty({ k: 400, tail: 1024, seed });

export class Meter {
  #counts: { -readonly [Name in keyof Counts]: number } = { ...NO_COUNTS };
  readonly #unanswered = new Map<string, Unanswered>();
  readonly #arrivals = new Map<number, Arrival>();
  readonly #nowMs: () => number;
  readonly #seed: number;
  #latency: QuantileSketch;
  #lastAcknowledgedMs: number | null = null;
  #lastRefusal: string | null = null;

  constructor(nowMs: () => number, seed: number) {
    this.#nowMs = nowMs;
    this.#seed = seed;
    this.#latency = emptyLatency(seed);
  }

  count(what: keyof Counts, by = 1): void {
    this.#counts[what] += by;
  }

  sent({ updateId, samples }: Update): void {
    this.count("updatesSent");
    if (this.#unanswered.has(updateId)) this.count("updatesSentAgain");
    else this.#unanswered.set(updateId, { sentMs: this.#nowMs(), samples });
  }

  answered(updateId: string, status: UpdateStatus, reason: string): void {
    if (status === "retry") {
      this.count("toldToRetry");
      return;
    }
    const sent = this.#unanswered.get(updateId);
    if (sent === undefined) return; // answered twice: it was sent twice
    this.#unanswered.delete(updateId);
    this.count(status);
    if (status === "refused") {
      this.#lastRefusal = reason;
      return;
    }
    const nowMs = this.#nowMs();
    this.count("samplesAcknowledged", sent.samples);
    this.#latency.add(nowMs - sent.sentMs);
    this.#lastAcknowledgedMs = nowMs;
  }

  champion(version: number): void {
    this.count("championsReceived");
    const atMs = this.#nowMs();
    const before = this.#arrivals.get(version) ?? { version, sessions: 0, firstMs: atMs, lastMs: atMs, sumMs: 0 };
    const { sessions, sumMs } = before;
    this.#arrivals.set(version, { ...before, sessions: sessions + 1, lastMs: atMs, sumMs: sumMs + atMs });
    if (this.#arrivals.size > MAX_VERSIONS) this.#arrivals.delete(Math.min(...this.#arrivals.keys()));
  }

  /** What happened since the last reading; what is unanswered stays so. */
  read(now: Pick<Reading, "sessionsOpen" | "ready" | "plan">): Reading {
    const reading: Reading = {
      ...now,
      counts: this.#counts,
      unanswered: this.#unanswered.size,
      latencyMs: this.#latency.serialise(),
      arrivals: [...this.#arrivals.values()],
      lastAcknowledgedMs: this.#lastAcknowledgedMs,
      lastRefusal: this.#lastRefusal,
    };
    this.#counts = { ...NO_COUNTS };
    this.#latency = emptyLatency(this.#seed);
    this.#arrivals.clear();
    this.#lastAcknowledgedMs = null;
    return reading;
  }
}
