// Bad input, counted by kind and logged at most once a minute per kind, so that a flood of it cannot flood the disk.

export interface ProblemLog {
  warn(fields: Record<string, unknown>, message: string): void;
}

const LOG_INTERVAL_MS = 60_000;
const MAX_DETAIL_CHARACTERS = 300;

/** `Kind` is a closed set of literals, which bounds memory and label cardinality. */
export class Problems<Kind extends string> {
  readonly #log: ProblemLog;
  readonly #nowMs: () => number;
  readonly #counts = new Map<Kind, number>();
  readonly #lastLogged = new Map<Kind, { atMs: number; count: number }>();

  constructor(log: ProblemLog, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** `where`: topic, gateway, file and line; `what`: what was wrong and what is allowed. */
  report(kind: Kind, where: string, what: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    const last = this.#lastLogged.get(kind);
    const atMs = this.#nowMs();
    if (last !== undefined && atMs - last.atMs < LOG_INTERVAL_MS) return;
    this.#lastLogged.set(kind, { atMs, count });
    this.#log.warn(
      { kind, where: where.slice(0, MAX_DETAIL_CHARACTERS), count, sinceLastLine: count - (last?.count ?? 0) },
      what.slice(0, MAX_DETAIL_CHARACTERS),
    );
  }

  /** How many of each kind that came up. */
  get counts(): ReadonlyMap<Kind, number> {
    return this.#counts;
  }

  get total(): number {
    let sum = 0;
    for (const count of this.#counts.values()) sum += count;
    return sum;
  }
}
