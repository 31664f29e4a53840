// The gateway's clocks.
import type { ClockQuality } from "../core/clock.ts";

export interface GatewayClock {
  /** Wall clock, epoch milliseconds: for what is stamped with a time. It may be set, either way. */
  wallMs(): number;
  /** Monotonic, whole epoch milliseconds when the process began: for how long ago, and how long yet. */
  steadyMs(): number;
  /** Of the wall clock now. */
  quality(): ClockQuality;
}
