// Weights of older versions, out of the way of the others. A version's row stays for ever.

export interface ArchiveLimits {
  /** So many of a cohort's newest versions keep their weights at hand, as do its champion and bases of open updates. */
  readonly atHand: number;
  /** The archive drops weights that it has for longer; 0: never. */
  readonly days: number;
  /** … and the oldest while it holds more, over all cohorts; 0: never. */
  readonly bytes: number;
}

export interface ModelArchive {
  /** Archives and drops what the limits say, a version at a time; what `signal` leaves undone is done the next time. */
  tidy(limits: ArchiveLimits, signal: AbortSignal): Promise<{ archived: number; dropped: number }>;
}
