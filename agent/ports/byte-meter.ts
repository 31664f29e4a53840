// What the process writes to disk and carries over the network.
import type { DayBytes } from "../core/day-bytes.ts";

export interface ByteMeter {
  /** Since it was called last. */
  take(): DayBytes;
  close(): void;
}
