// How far the gateway's wall clock is to be trusted: whether a time server sets it, and whether it was stepped lately.

export type ClockQuality = "unsynchronised" | "stepped" | "synced";

/** One look at both clocks, epoch milliseconds; the steady one is never set. */
export interface ClockLook {
  readonly wallMs: number;
  readonly steadyMs: number;
  /** Something on the machine says that a time server sets its clock. */
  readonly synchronised: boolean;
}

export interface ClockState {
  /** Wall clock before steady clock, at the last look. */
  readonly aheadMs: number;
  /** By the steady clock; null: it was not stepped. */
  readonly steppedAtMs: number | null;
}

/** Looks are seconds apart: a clock that is only slewed moves less between two of them. */
const STEP_MS = 1_000;
/** Times within as long before and after a step don't compare. */
const STEPPED_FOR_MS = 3_600_000;

export interface ClockReading {
  readonly state: ClockState;
  readonly quality: ClockQuality;
  /** The clock was set forward, or back where it is negative, by this much since the look before; null: it was not. */
  readonly steppedMs: number | null;
}

/** `before` null: the first look, which can't tell of a step. */
export function readClock(before: ClockState | null, { wallMs, steadyMs, synchronised }: ClockLook): ClockReading {
  const aheadMs = wallMs - steadyMs;
  const movedMs = before === null ? 0 : aheadMs - before.aheadMs;
  const steppedMs = Math.abs(movedMs) >= STEP_MS ? movedMs : null;
  const steppedAtMs = steppedMs === null ? (before?.steppedAtMs ?? null) : steadyMs;
  const stepped = steppedAtMs !== null && steadyMs - steppedAtMs < STEPPED_FOR_MS;
  return {
    state: { aheadMs, steppedAtMs },
    quality: stepped ? "stepped" : synchronised ? "synced" : "unsynchronised",
    steppedMs,
  };
}
