// Learning-rate feedback with a dead band: without one the factor decays to its floor whatever the models do.

export interface RateState {
  readonly factor: number;
  /** Exponentially smoothed held-out quality of the champions; null before the first evaluation. */
  readonly smoothedQuality: number | null;
  /** The set of held-out streams that it was measured on; null: not known. */
  readonly measuredOn: string | null;
}

/** Held-out quality; null where it was not measured. */
export interface MeasuredQuality {
  readonly quality: number | null;
  readonly set: string | null;
}

const RAISE = 1.05;
const CUT = 0.9;
const RAISE_ABOVE = 0.002;
const CUT_BELOW = -0.01;
const BOUNDS = { low: 0.1, high: 4 };
const SMOOTHING = 0.5;

/**
 * After a rejection the factor follows the candidate, but the smoothed quality stays the champion's. On another set of
 * streams smoothing begins anew: what was measured on different ones is not compared.
 */
export function nextRate(state: RateState, candidate: MeasuredQuality, promoted: boolean): RateState {
  const { quality, set: measuredOn } = candidate;
  if (quality === null) return state;
  const before = state.measuredOn === measuredOn ? state.smoothedQuality : null;
  if (before === null) return { ...state, measuredOn, smoothedQuality: promoted ? quality : null };
  const smoothed = before + SMOOTHING * (quality - before);
  const change = smoothed - before;
  const step = change > RAISE_ABOVE ? RAISE : change < CUT_BELOW ? CUT : 1;
  return {
    factor: Math.min(BOUNDS.high, Math.max(BOUNDS.low, state.factor * step)),
    smoothedQuality: promoted ? smoothed : before,
    measuredOn,
  };
}

export type Trend = "falling" | "flat" | "rising";

/** Trend of the held-out loss from champion to candidate; within 1 % is flat; null where it was not measured. */
export function lossTrend(before: number | null, after: number | null): Trend | null {
  if (before === null || after === null) return null;
  const change = after - before;
  if (Math.abs(change) <= 0.01 * Math.abs(before)) return "flat";
  return change < 0 ? "falling" : "rising";
}
