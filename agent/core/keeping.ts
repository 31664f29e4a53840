// What gives way to what when there is no room on the disk.

/** From what goes first to what is kept longest. */
export const KEEPING_ORDER = ["summaries", "updates", "learning", "alerts"] as const;

/** `learning`: plans, models and devices. */
export type Kept = (typeof KEEPING_ORDER)[number];

/** Of two, the one that is kept longer. */
export const keptLonger = (a: Kept, b: Kept): Kept => (KEEPING_ORDER.indexOf(a) > KEEPING_ORDER.indexOf(b) ? a : b);

/** What waits to be sent and goes, the first first, so that `kept` can be written; what is learned replaces itself. */
export const givingWayTo = (kept: Kept): ("summaries" | "updates")[] =>
  (["summaries", "updates"] as const).filter((kind) => KEEPING_ORDER.indexOf(kind) < KEEPING_ORDER.indexOf(kept));
