// Whether the champion has drifted from what a live stream shows: its quality against what it was at first.
import type { DriftSettings } from "../../learning/plan.ts";

export interface Drift {
  /** Of which it is; another champion begins anew. */
  readonly championVersion: number;
  /** As measured last; null: never yet. */
  readonly quality: number | null;
  /** Its first quality on the stream since it was champion. */
  readonly reference: number | null;
  /** Measured windows in a row that were too far below. */
  readonly windowsBelow: number;
  readonly drifted: boolean;
}

export interface Measured {
  readonly championVersion: number;
  /** Null: not measured, which says nothing of drift. */
  readonly quality: number | null;
}

/** The drift after a window, and whether it began or ended with it. */
export interface DriftStep {
  readonly drift: Drift;
  readonly turn: "drifted" | "recovered" | null;
}

/**
 * Drifted from the `windows`th window in a row on that is more than `drop` below the reference, until one is back within
 * half of it: quality that wavers about the edge is one drift.
 */
export function stepDrift(
  before: Drift | null,
  { championVersion, quality }: Measured,
  { drop, windows }: Pick<DriftSettings, "drop" | "windows">,
): DriftStep {
  const same = before !== null && before.championVersion === championVersion;
  const drift = same ? before : { championVersion, quality: null, reference: null, windowsBelow: 0, drifted: false };
  if (quality === null) return { drift, turn: null };
  const reference = drift.reference ?? quality;
  const fallen = reference - quality;
  const windowsBelow = fallen > drop ? drift.windowsBelow + 1 : 0;
  const drifted = drift.drifted ? fallen > drop / 2 : windowsBelow >= windows;
  const turn = drifted === drift.drifted ? null : drifted ? "drifted" : "recovered";
  return { drift: { championVersion, quality, reference, windowsBelow, drifted }, turn };
}
