// How long ago, by clocks that are set.

/** `atMs` is less than `forMs` before `nowMs`; what lies in the future, since a clock was set back, is not recent. */
export const isRecent = (atMs: number, nowMs: number, forMs: number): boolean => nowMs >= atMs && nowMs - atMs < forMs;
