// Where a score becomes an exceedance: rules as data, the fleet's part in them, and what operators may move.
import { QuantileSketch } from "./sketch.ts";
import { fitSpot, SPOT_MIN_SCORES, type SpotRule } from "./spot.ts";
import { quantile } from "./threshold.ts";

/** Over means score > threshold, always. Scores are never negative. */
export type ThresholdRule =
  /** The quantile (0 to 1) of the device's own scores, linear between them. */
  | { readonly kind: "quantile"; readonly quantile: number }
  /** Extreme value theory on the device's own scores. */
  | SpotRule
  /** At most a share alpha (0 < alpha < 1) of exchangeable normal scores is over, whatever their distribution. */
  | { readonly kind: "conformal"; readonly alpha: number }
  /** The same for every device: for scores that mean the same everywhere, as a classifier's probability does. */
  | { readonly kind: "fixed"; readonly threshold: number }
  /** The device's own median score × the fleet's quantile of score / own median, within 4 times its own quantile. */
  | { readonly kind: "federated_conformal"; readonly quantile: number };

/**
 * Why there is no threshold, or not quite the rule's one:
 * - tooFewScores: no threshold. Fewer than 30 finite scores (100 for SPOT), or fewer than conformal needs for its alpha.
 * - noTail: SPOT could fit none (constant or tied scores); the largest score.
 * - noFleetFactor: the fleet has pooled nothing yet; the own scores' quantile, nearest rank.
 * - zeroMedian: more than half of the own scores are 0, so nothing can be a multiple of their median; the largest score.
 */
export type FitNote = "tooFewScores" | "noTail" | "noFleetFactor" | "zeroMedian";

export interface Fit {
  readonly threshold: number | null;
  readonly note: FitNote | null;
}

export const MIN_SCORES = 30;
const TOO_FEW: Fit = { threshold: null, note: "tooFewScores" };

/** ⌈(n + 1)(1 − alpha)⌉, counted down so that rounding cannot add one. */
const conformalRank = (n: number, alpha: number) => n + 1 - Math.floor((n + 1) * alpha * (1 + Number.EPSILON));

/** Scores that so many calibration rows give: one is a mean over `trailingRows` rows, so the first rows give none. */
export const calibrationScores = (rows: number, trailingRows: number): number => Math.max(0, rows - trailingRows + 1);

/** The fewest finite scores that `fitThreshold` takes for the rule; a fixed one needs a score to be judged. */
export function leastScores(rule: ThresholdRule): number {
  switch (rule.kind) {
    case "fixed":
      return 1;
    case "spot":
      return SPOT_MIN_SCORES;
    case "conformal": {
      let least = Math.max(MIN_SCORES, Math.ceil(1 / rule.alpha) - 2);
      while (conformalRank(least, rule.alpha) > least) least++;
      return least;
    }
    default:
      return MIN_SCORES;
  }
}

/** The rank ⌈q·n⌉ of n, at least 1. */
const nearestRank = (n: number, q: number) => Math.max(1, Math.ceil(q * n * (1 - Number.EPSILON)));

function checkShare(name: string, share: number): void {
  if (!(share > 0 && share < 1)) throw new RangeError(`${name} ${share} is not between 0 and 1`);
}

const finiteSorted = (scores: ArrayLike<number>) => Float64Array.from(scores).filter(Number.isFinite).sort();

/**
 * The threshold that `rule` gives a device with these normal scores (any order). Scores that are not finite are left out;
 * constant scores c give c (quantile, conformal, SPOT) or factor × c (federated), so equal scores are not over where the
 * factor is ≥ 1. `fleetFactor` is `pooledFactor`'s, for the federated rule alone. What was too little for the rule is in
 * `note`. Throws RangeError for a rule or factor outside its bounds. Conformal: Vovk et al. 2005, Lei et al. 2018.
 */
export function fitThreshold(rule: ThresholdRule, scores: ArrayLike<number>, fleetFactor: number | null = null): Fit {
  const sorted = finiteSorted(scores);
  const n = sorted.length;
  switch (rule.kind) {
    case "quantile":
      checkShare("quantile", rule.quantile);
      return n < MIN_SCORES ? TOO_FEW : { threshold: quantile(sorted, rule.quantile), note: null };
    case "spot": {
      const fit = fitSpot(rule, sorted);
      return fit ? { threshold: fit.threshold, note: fit.tail ? null : "noTail" } : TOO_FEW;
    }
    case "conformal": {
      checkShare("alpha", rule.alpha);
      const rank = conformalRank(n, rule.alpha);
      return n < MIN_SCORES || rank > n ? TOO_FEW : { threshold: Number(sorted[rank - 1]), note: null };
    }
    case "fixed":
      return { threshold: rule.threshold, note: null };
    case "federated_conformal":
      checkShare("quantile", rule.quantile);
      return federatedThreshold(sorted, rule.quantile, fleetFactor);
  }
}

/** A fleet that lies must neither silence a device nor keep it in alarm: it moves the device's own threshold so far. */
const MAX_FLEET_PART = 4;

function federatedThreshold(sorted: Float64Array, q: number, factor: number | null): Fit {
  if (factor !== null && !(factor > 0 && factor < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`a fleet factor of ${factor}`);
  }
  if (sorted.length < MIN_SCORES) return TOO_FEW;
  const median = quantile(sorted, 0.5);
  if (!(median > 0)) return { threshold: Number(sorted.at(-1)), note: "zeroMedian" };
  const own = Number(sorted[nearestRank(sorted.length, q) - 1]);
  if (factor === null) return { threshold: own, note: "noFleetFactor" };
  const threshold = Math.max(own / MAX_FLEET_PART, Math.min(own * MAX_FLEET_PART, factor * median));
  return { threshold, note: null };
}

/** Under 2 KB for 2,000 devices' scores; a quantile q of n of them is exact while (1 − q)·n < 64. */
const RATIO_SKETCH = { k: 64, tail: 64 };

/**
 * What a device tells the fleet: a sketch of score / own median, whose own median is therefore 1. Null for fewer than 30
 * finite scores or a median of 0: then it has nothing to say. Each device needs a `seed` of its own.
 */
export function ratioSketch(scores: ArrayLike<number>, seed: number): QuantileSketch | null {
  const finite = Float64Array.from(scores).filter(Number.isFinite);
  if (finite.length < MIN_SCORES) return null;
  const median = quantile(finite, 0.5);
  if (!(median > 0)) return null;
  const sketch = QuantileSketch.empty({ ...RATIO_SKETCH, seed });
  for (const score of finite) sketch.add(score / median);
  return sketch;
}

/** How far one may stand from the fleet's median before the pool does without it. */
const MAX_FACTOR_RATIO = 4;

/**
 * The fleet's factor: the quantile `q` of all gateways' ratios, from their sketches (as `ratioSketch` makes them; they stay
 * as they are), in any order, one voice each. One liar would set it for all, so those are left out whose own quantile is
 * more than 4 times off the median one's; empty sketches, sketches of other sizes and with a quantile ≤ 0 always are. Two
 * that far apart are both left out, for there is no telling who lies. `leftOut` holds their indices; `factor` is null when
 * nobody remains. Throws RangeError for a q outside 0 to 1.
 */
export function pooledFactor(
  sketches: readonly QuantileSketch[],
  q: number,
): { readonly factor: number | null; readonly leftOut: readonly number[] } {
  checkShare("quantile", q);
  const likeOurs = QuantileSketch.empty({ ...RATIO_SKETCH, seed: 0 });
  const voices = sketches.map((sketch) => ({ sketch, factor: sketch.quantile(q) ?? 0 }));
  const usable = voices.filter(({ sketch, factor }) => factor > 0 && sketch.mergesWith(likeOurs));
  const factors = usable.map(({ factor }) => factor).sort((a, b) => a - b);
  const [low, high] = [factors[(factors.length - 1) >> 1] ?? 0, factors[factors.length >> 1] ?? 0];
  const isNear = (factor: number) => factor <= MAX_FACTOR_RATIO * low && factor * MAX_FACTOR_RATIO >= high;
  const pooled = new Set(usable.filter(({ factor }) => isNear(factor)).map(({ sketch }) => sketch));
  const leftOut = sketches.flatMap((sketch, i) => (pooled.has(sketch) ? [] : [i]));
  return { factor: QuantileSketch.quantileOf([...pooled], q), leftOut };
}

/** A person's word on one score of a device. */
export interface OperatorLabel {
  readonly kind: "falseAlarm" | "missed";
  readonly score: number;
}

/** What operators made of the rule's threshold, as a factor: it outlives the next fit of the rule. */
export const OPERATOR_BOUNDS = { min: 0.5, max: 2 } as const;
/** "Just above" and "just below" a score, as a share of it: scores of the same state differ by about as much. */
const MARGIN = 0.01;

/**
 * The operator factor after a label, in [0.5, 2]; 1 before any. A false alarm raises the device's threshold to 1 % above
 * that score, a missed event lowers it to 1 % below; a threshold that is there already stays, and the last label wins.
 * Unchanged too for a score that is not finite and a rule's threshold that is not positive. Throws RangeError for a
 * factor outside the bounds.
 */
export function stepOperatorFactor(factor: number, ruleThreshold: number, label: OperatorLabel): number {
  const { min, max } = OPERATOR_BOUNDS;
  if (!(factor >= min && factor <= max)) throw new RangeError(`operator factor ${factor} is outside ${min} to ${max}`);
  if (!Number.isFinite(label.score) || !(ruleThreshold > 0)) return factor;
  const wanted = label.score / ruleThreshold;
  return label.kind === "falseAlarm"
    ? Math.min(max, Math.max(factor, wanted * (1 + MARGIN)))
    : Math.max(min, Math.min(factor, wanted * (1 - MARGIN)));
}
