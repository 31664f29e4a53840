// Whether a new global model is clearly worse than the active one, by what both say of the gateway's own recent rows.
import { quantile } from "../../learning/threshold.ts";

/** On fewer rows than that a few odd ones would decide. */
export const MIN_NORMAL_ROWS = 100;
export const MIN_LABELLED_ROWS = 20;

/**
 * Of errors, of which a new model's level says nothing by itself. Thresholds are fitted anew to whatever model serves, so
 * one that fits this gateway somewhat less than the one before still detects; where half of the normal rows score more
 * than twice as high, faults that stood out before lie within normal.
 */
const MAX_RATIO = 2;
/** Of probabilities and isolation scores, which both lie in [0, 1]: a fifth of all there is. */
const MAX_DIFFERENCE = 0.2;
/** In a device's own scales: errors below a tenth of what its channels usually vary by are alike, none of them is bad. */
const LEAST_ERROR = 0.1;

/** How two scores of a row compare: as errors by their ratio, or as values in [0, 1] by their difference. */
export type Measure = "ratio" | "difference";

/** The new model beside the active one; above 1 as a ratio and above 0 as a difference it is the worse of them. */
export interface Trial {
  readonly measure: Measure;
  /** Normal rows that both scored. */
  readonly rows: number;
  /** Median over them of new score to active score; null: there were too few. */
  readonly change: number | null;
  readonly labelledRows: number;
  /** Of the mean distance between probability and label, each label counting the same; null: too few rows. */
  readonly labelledChange: number | null;
  readonly worse: boolean;
}

/** What one model says; both say it of the same rows in the same order. */
export interface TrialScores {
  readonly normal: Float32Array;
  /** Probabilities, a label each. */
  readonly labelled: Float32Array;
}

/** Null: there are too few rows of either kind to say anything, or scores that are not finite. */
export function judgeCandidate(
  measure: Measure,
  { active, candidate }: { readonly active: TrialScores; readonly candidate: TrialScores },
  labels: readonly (0 | 1)[],
): Trial | null {
  const change = normalChange(measure, active.normal, candidate.normal);
  const labelledChange =
    labels.length < MIN_LABELLED_ROWS
      ? null
      : finiteOrNull(labelledError(candidate.labelled, labels) - labelledError(active.labelled, labels));
  if (change === null && labelledChange === null) return null;
  const worse =
    (change ?? 0) > (measure === "ratio" ? MAX_RATIO : MAX_DIFFERENCE) || (labelledChange ?? 0) > MAX_DIFFERENCE;
  return { measure, rows: active.normal.length, change, labelledRows: labels.length, labelledChange, worse };
}

/** Row by row, so that devices whose scores differ in level count alike. */
function normalChange(measure: Measure, active: Float32Array, candidate: Float32Array): number | null {
  const comparable = active.every(Number.isFinite) && candidate.every(Number.isFinite);
  if (active.length < MIN_NORMAL_ROWS || !comparable) return null;
  const changes = Float64Array.from(candidate, (score, row) => {
    const before = Number(active[row]);
    return measure === "ratio" ? Math.max(score, LEAST_ERROR) / Math.max(before, LEAST_ERROR) : score - before;
  });
  return quantile(changes, 0.5);
}

/** Mean distance of probabilities from labels, 0 or 1; each label counts the same, however many rows have it. */
export function labelledError(probabilities: Float32Array, labels: ArrayLike<number>): number {
  const means = [0, 1].flatMap((label) => {
    const errors = Array.from(labels).flatMap((said, row) =>
      said === label ? Math.abs(Number(probabilities[row]) - said) : [],
    );
    return errors.length === 0 ? [] : errors.reduce((sum, error) => sum + error, 0) / errors.length;
  });
  return means.reduce((sum, mean) => sum + mean, 0) / means.length;
}

const finiteOrNull = (value: number) => (Number.isFinite(value) ? value : null);

/** In words, for logs and people. */
export function describeTrial({ measure, rows, change, labelledRows, labelledChange }: Trial): string {
  const unit = measure === "ratio" ? "times the active one's" : "more than the active one's";
  const normal = change === null ? [] : [`its scores of ${rows} normal rows are ${change.toFixed(2)} ${unit}`];
  const labelled =
    labelledChange === null ? [] : [`its error on ${labelledRows} labelled rows is ${labelledChange.toFixed(2)} more`];
  return [...normal, ...labelled].join(", ");
}
