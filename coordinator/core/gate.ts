// The gate: a candidate becomes champion unless it is clearly worse on the same held-out windows.
import type { Scores } from "../../learning/metrics.ts";

export interface Judgement {
  readonly verdict: "promoted" | "rejected";
  readonly reason: string;
}

/** ½ F1 + ½ PR-AUC; null where either was not measured. */
export function quality(scores: Scores | null): number | null {
  if (scores === null || scores.f1 === null || scores.prAuc === null) return null;
  return (scores.f1 + scores.prAuc) / 2;
}

/** Large drops are rejected, small dips pass: rolling training back on every dip traps it. */
export function judge(candidate: Scores | null, champion: Scores | null, margin: number): Judgement {
  const candidateQuality = quality(candidate);
  const championQuality = quality(champion);
  if (candidateQuality === null || championQuality === null) {
    return { verdict: "promoted", reason: "not evaluated: no labelled held-out stream to judge by" };
  }
  const change = candidateQuality - championQuality;
  const compared = `quality ${candidateQuality.toFixed(3)} against ${championQuality.toFixed(3)}`;
  if (change < -margin) return { verdict: "rejected", reason: `${compared}: worse by more than ${margin}` };
  return { verdict: "promoted", reason: compared };
}
