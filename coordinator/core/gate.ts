// The gate: a candidate becomes champion unless it is clearly worse on the same held-out windows.
import type { Scores } from "../../learning/metrics.ts";
import { type Pin, pinnedBy } from "./model-actions.ts";

export interface Judgement {
  /** A candidate that remains one: the gate lets it pass, but the champion is pinned. */
  readonly verdict: "promoted" | "rejected" | "candidate";
  readonly reason: string;
}

/** ½ F1 + ½ PR-AUC; null where either was not measured. */
export function quality(scores: Scores | null): number | null {
  if (scores === null || scores.f1 === null || scores.prAuc === null) return null;
  return (scores.f1 + scores.prAuc) / 2;
}

/**
 * Large drops are rejected, small dips pass: rolling training back on every dip traps it. `champion` null: there is none
 * that was trained, so nothing is replaced but the cold start.
 */
export function judge(candidate: Scores | null, champion: Scores | null, margin: number): Judgement {
  const candidateQuality = quality(candidate);
  if (candidate === null || candidateQuality === null) {
    const lacks = candidate === null ? "no held-out stream" : "the held-out streams lack normal rows or anomalies";
    return { verdict: "promoted", reason: `not evaluated: ${lacks}` };
  }
  const championQuality = quality(champion);
  const measured = `quality ${candidateQuality.toFixed(3)}`;
  if (championQuality === null)
    return { verdict: "promoted", reason: `${measured}, no trained champion to compare with` };
  const compared = `${measured} against ${championQuality.toFixed(3)}`;
  const worse = candidateQuality - championQuality < -margin;
  return worse
    ? { verdict: "rejected", reason: `${compared}: worse by more than ${margin}` }
    : { verdict: "promoted", reason: compared };
}

/** What is worse is rejected all the same; what is not remains a candidate while the champion is pinned. */
export function underPin({ verdict, reason }: Judgement, pin: Pin | null): Judgement {
  if (pin === null || verdict === "rejected") return { verdict, reason };
  return { verdict: "candidate", reason: `${reason}; the champion is ${pinnedBy(pin)}` };
}
