// A gateway's clock that stands where a test puts it.
import type { ClockQuality } from "../../agent/core/clock.ts";
import type { GatewayClock } from "../../agent/ports/clock.ts";

export class StillClock implements GatewayClock {
  nowMs: number;
  says: ClockQuality = "synced";

  constructor(nowMs = 0) {
    this.nowMs = nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  steadyMs(): number {
    return this.nowMs;
  }

  quality(): ClockQuality {
    return this.says;
  }
}
