// SPOT: a threshold that extreme value theory puts where normal scores go with a stated risk, and that follows the stream.
import { excessQuantile, fitGpd, type Gpd } from "./gpd.ts";

export interface SpotRule {
  readonly kind: "spot";
  /** The share of scores below the level from which excesses are counted, 0 < level < 1; 0.98 is usual. */
  readonly level: number;
  /** The share of normal scores that may exceed the threshold, 0 < risk < 1 − level. */
  readonly risk: number;
  /** Excesses remembered, the oldest forgotten first, ≥ 10: 8 bytes each. */
  readonly maxExcesses: number;
}

/** Plain data: restores exactly from a structured clone or from JSON. */
export interface SpotState {
  /** The level t that excesses are counted over. */
  readonly level: number;
  /** Scores taken, and how many of them exceeded the level; anomalies are neither. */
  readonly scores: number;
  readonly exceeded: number;
  /** The last excesses, the newest last. */
  readonly excesses: readonly number[];
  /** Null: too few or too equal excesses for a tail; the threshold is the largest score taken. */
  readonly tail: Gpd | null;
  readonly threshold: number;
}

export const SPOT_MIN_SCORES = 100;
const MIN_EXCESSES = 10;

function checkRule({ level, risk, maxExcesses }: SpotRule): void {
  if (!(level > 0 && level < 1 && risk > 0 && risk < 1 - level && maxExcesses >= MIN_EXCESSES)) {
    throw new RangeError(`SPOT with level ${level}, risk ${risk} and ${maxExcesses} excesses`);
  }
}

type Tally = Omit<SpotState, "tail" | "threshold">;

/** t + the excess that a share risk·n/Nₜ of the excesses goes beyond; never below t. Siffer et al. 2017, equation 1. */
function refit(rule: SpotRule, tally: Tally, largest: number): SpotState {
  const tail = tally.excesses.length >= MIN_EXCESSES ? fitGpd(tally.excesses) : null;
  return tail ? withThreshold(rule, tally, tail) : { ...tally, tail, threshold: largest };
}

function withThreshold(rule: SpotRule, tally: Tally, tail: Gpd): SpotState {
  const beyond = Math.min(1, (rule.risk * tally.scores) / tally.exceeded);
  return { ...tally, tail, threshold: tally.level + excessQuantile(tail, beyond) };
}

/**
 * Calibrates on normal scores in any order; those that are not finite are left out. The level is the rule's quantile, or
 * lower where that leaves fewer than 10 scores above. Null for fewer than 100 scores. Constant scores, or too many ties
 * for 10 different excesses, have no tail: the threshold is the largest score. Throws RangeError for a rule outside its
 * bounds. Siffer et al. 2017.
 */
export function startSpot(rule: SpotRule, scores: ArrayLike<number>): SpotState | null {
  checkRule(rule);
  const finite = Float64Array.from(scores).filter(Number.isFinite);
  if (finite.length < SPOT_MIN_SCORES) return null;
  const sorted = finite.toSorted();
  const above = Math.max(MIN_EXCESSES, Math.floor((1 - rule.level) * sorted.length));
  const level = Number(sorted[sorted.length - 1 - above]);
  const excesses = [...finite].filter((score) => score > level).map((score) => score - level);
  const tally = {
    level,
    scores: finite.length,
    exceeded: excesses.length,
    excesses: excesses.slice(-rule.maxExcesses),
  };
  return refit(rule, tally, Number(sorted.at(-1)));
}

/**
 * One score of the stream: over when it exceeds the threshold, and then not learned from; over the level alone, it joins
 * the excesses and the tail is fitted again; else it only counts. A score that is not a number changes nothing and is
 * not over. Leaving out what is over shortens the tail that is fitted, so the stream exceeds its risk: by two to five
 * times for exponential scores at risk 0.001. Time O(excesses) when one joins. Siffer et al. 2017, algorithm 2.
 */
export function stepSpot(
  rule: SpotRule,
  state: SpotState,
  score: number,
): { readonly state: SpotState; readonly over: boolean } {
  if (Number.isNaN(score)) return { state, over: false };
  if (score > state.threshold) return { state, over: true };
  const counted = { ...state, scores: state.scores + 1 };
  if (score <= state.level) {
    return { state: state.tail ? withThreshold(rule, counted, state.tail) : counted, over: false };
  }
  const excesses = [...state.excesses, score - state.level].slice(-rule.maxExcesses);
  return { state: refit(rule, { ...counted, exceeded: state.exceeded + 1, excesses }, state.threshold), over: false };
}
