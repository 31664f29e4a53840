// SPOT: a threshold that extreme value theory puts where normal scores go with a stated risk.
import { excessQuantile, fitGpd, type Gpd } from "./gpd.ts";

export interface SpotRule {
  readonly kind: "spot";
  /** The share of scores below the level from which excesses are counted, 0 < level < 1; 0.98 is usual. */
  readonly level: number;
  /** The share of normal scores that may exceed the threshold, 0 < risk < 1 − level. */
  readonly risk: number;
  /** The tail is fitted to so many excesses at most, ≥ 10: the level is higher where there would be more. */
  readonly maxExcesses: number;
}

export interface SpotFit {
  /** Null: too few or too equal excesses for a tail; the threshold is the largest score. */
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

/**
 * Fits to normal scores in any order; those that are not finite are left out. The level t is the rule's quantile, or
 * lower where that leaves fewer than 10 scores above, or higher where more than the rule's most. Null for fewer than 100 scores. Constant scores, or too many ties
 * for 10 different excesses, have no tail: the threshold is the largest score. Throws RangeError for a rule outside its
 * bounds. The threshold is t + the excess that a share risk·n/Nₜ of the Nₜ excesses goes beyond: Siffer et al. 2017,
 * equation 1.
 */
export function fitSpot(rule: SpotRule, scores: ArrayLike<number>): SpotFit | null {
  checkRule(rule);
  const finite = Float64Array.from(scores).filter(Number.isFinite);
  if (finite.length < SPOT_MIN_SCORES) return null;
  const sorted = finite.toSorted();
  const asked = Math.floor((1 - rule.level) * sorted.length);
  const above = Math.max(MIN_EXCESSES, Math.min(rule.maxExcesses, asked));
  const level = Number(sorted[sorted.length - 1 - above]);
  const excesses = [...sorted].filter((score) => score > level).map((score) => score - level);
  const tail = excesses.length >= MIN_EXCESSES ? fitGpd(excesses) : null;
  if (tail === null) return { tail, threshold: Number(sorted.at(-1)) };
  const beyond = Math.min(1, (rule.risk * finite.length) / excesses.length);
  return { tail, threshold: level + excessQuantile(tail, beyond) };
}
