// The combining rules as data, and the one function that applies them to a round's pulls.
import { type ClipSettings, clipNorms } from "./clip.ts";
import { coordinateMedian, trimmedMean } from "./coordinate-rules.ts";
import { InvalidRoundError, weightedMean } from "./fedavg.ts";
import { krum } from "./krum.ts";

/** How far one gateway moved its weights in a round, and what it learned that from. */
export interface Pull {
  readonly pull: Float32Array;
  readonly weight: number;
  /** What the gateway is heard for beside one that never did harm, in (0, 1]; 1 when absent. */
  readonly voice?: number;
}

/** Of forests, and no other model: one voice a gateway, as many trees of each as go into one forest (poolTrees). */
interface PoolingRule {
  readonly kind: "pool_trees";
}

export type CombiningRule = PullRule | PoolingRule;

/** From pulls to one delta. */
export type PullRule = (
  | { readonly kind: "fedavg" }
  | { readonly kind: "median" }
  /** `share` is taken from each side, in [0, 0.5). */
  | { readonly kind: "trimmed_mean"; readonly share: number }
  /** `faultyShare` of the gateways may send anything, in [0, 0.5). */
  | { readonly kind: "krum"; readonly faultyShare: number }
  | { readonly kind: "multi_krum"; readonly faultyShare: number }
) & {
  /** Before the rule; none when absent. */
  readonly clip?: ClipSettings;
};

export interface CombinedPulls {
  readonly delta: Float32Array;
  /** Indices of the pulls that were shortened, ascending. */
  readonly clipped: readonly number[];
  /** Indices of the pulls that had no part in `delta`: of weight zero, or not chosen by the rule; ascending. */
  readonly excluded: readonly number[];
}

/**
 * `pulls` (each length P, float32) combined into one delta of length P. A pull of weight zero was learned from nothing
 * and counts in no rule, nor in the median norm; beyond that only "fedavg" weighs by weight. Every rule weighs by voice,
 * each in the way that leaves it as many faulty pulls as it bears when voices are alike.
 * Throws EmptyRoundError for no pulls; InvalidRoundError for other lengths, values that are not finite, weights that
 * are negative or not finite, or that sum to zero, voices outside (0, 1]; RangeError for a rule's setting out of range.
 */
export function combinePulls(rule: PullRule, pulls: readonly Pull[]): CombinedPulls {
  // What has no mean has no combination by any rule, so the mean's own checks guard them all.
  weightedMean(
    pulls.map(({ pull }) => pull),
    pulls.map(({ weight }) => weight),
  );
  const wrong = pulls.find(({ voice = 1 }) => !(voice > 0 && voice <= 1));
  if (wrong !== undefined) throw new InvalidRoundError(`${wrong.voice} is not a voice: it must be in (0, 1]`);
  const counted = [...pulls.keys()].filter((i) => Number(pulls[i]?.weight) > 0);
  const chosen = counted.map((i) => pulls[i] as Pull);
  const given = chosen.map(({ pull }) => pull);
  const { deltas, clipped } = rule.clip === undefined ? { deltas: given, clipped: [] } : clipNorms(given, rule.clip);
  const { delta, excluded } = applyRule(rule, deltas, chosen);
  const without = new Set(excluded.map((i) => counted[i]));
  return {
    delta,
    clipped: clipped.map((i) => counted[i] as number),
    excluded: [...pulls.keys()].filter((i) => without.has(i) || !counted.includes(i)),
  };
}

function applyRule(
  rule: PullRule,
  deltas: readonly Float32Array[],
  pulls: readonly Pull[],
): { readonly delta: Float32Array; readonly excluded: readonly number[] } {
  const voices = pulls.map(({ voice = 1 }) => voice);
  switch (rule.kind) {
    case "fedavg": {
      const weights = pulls.map(({ weight, voice = 1 }) => weight * voice);
      return { delta: weightedMean(deltas, weights), excluded: [] };
    }
    case "median":
      return { delta: coordinateMedian(deltas, voices), excluded: [] };
    case "trimmed_mean":
      return { delta: trimmedMean(deltas, rule.share, voices), excluded: [] };
    case "krum":
      return krum(deltas, rule.faultyShare, "one", voices);
    case "multi_krum":
      return krum(deltas, rule.faultyShare, "most", voices);
  }
}
