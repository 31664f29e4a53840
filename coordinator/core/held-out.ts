// Held-out streams as people keep them: bounded, a draft until they are frozen, and never changed after that.

export interface HeldOutLimits {
  /** Of one CSV as it was given. */
  readonly bytesAStream: number;
  /** Of a cohort's streams that are not retired, as given. */
  readonly bytesACohort: number;
  readonly streamsACohort: number;
}

/** A stream and its content. */
export interface StreamRevision {
  readonly stream: string;
  readonly sha256: string;
}

/**
 * Says the same for the same contents, whatever their order or names: quality over time is compared only where it does.
 */
export function frozenSet(streams: readonly StreamRevision[]): string {
  const frozen = streams.map(({ sha256 }) => sha256.slice(0, 16));
  return frozen.toSorted().join("+");
}

/** What a cohort's other streams that are not retired take already. */
export interface HeldOutUse {
  readonly streams: number;
  readonly bytes: number;
}

/** Why there is no room for a stream of so many bytes; null: there is. */
export function refusalOfRoom(bytes: number, others: HeldOutUse, limits: HeldOutLimits): string | null {
  if (others.streams >= limits.streamsACohort) {
    return `the cohort has ${others.streams} held-out streams; allowed are ${limits.streamsACohort}: retire one first`;
  }
  if (others.bytes + bytes > limits.bytesACohort) {
    return `the cohort's held-out streams would take ${others.bytes + bytes} bytes; allowed are ${limits.bytesACohort}: retire one first`;
  }
  return null;
}
