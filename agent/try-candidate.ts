// A new global model and the active one score the same recent rows of the gateway's devices.
import type { FleetStatistics } from "../learning/fleet.ts";
import { growsTrees, takesLabels } from "../learning/models/signature.ts";
import type { Manifest } from "../learning/plan.ts";
import type { PlanModel } from "../runtime/plan-model.ts";
import { calibrationGroups } from "./core/calibration-groups.ts";
import type { Device } from "./core/device.ts";
import { labelledFeatures } from "./core/recent-features.ts";
import { judgeCandidate, type Trial, type TrialScores } from "./core/try-model.ts";
import type { HeldModel } from "./ports/agent-store.ts";

/** Bounds the time and memory of trying a model on labelled rows. */
const MAX_LABELLED_ROWS = 1_000;

export interface Scorer {
  readonly model: PlanModel;
  readonly manifest: Manifest;
}

/**
 * Rows are seen as the candidate's fleet statistics would have them; afterwards the active model's are in force again.
 * Null: there is nothing to compare, or not enough to compare by.
 */
export async function tryCandidate(
  scorer: Scorer,
  devices: () => Iterable<Device>,
  active: HeldModel | null,
  candidate: HeldModel,
): Promise<Trial | null> {
  if (!active?.trained || !candidate.trained) return null;
  const { model, manifest } = scorer;
  const measure = takesLabels(manifest) || growsTrees(manifest) ? "difference" : "ratio";
  const { x, labels } = labelledFeatures(devices(), manifest.featureCount, MAX_LABELLED_ROWS);
  const scoresBy = async ({ weights }: HeldModel): Promise<TrialScores> => {
    const normal = await calibrationScores(scorer, devices(), weights);
    const labelled = labels.length === 0 ? null : await model.score(weights, x, labels.length);
    return {
      normal: Float32Array.from(normal.flatMap(([, scores]) => [...scores])),
      labelled: labelled?.scores ?? new Float32Array(0),
    };
  };
  tellDevices(devices(), candidate.fleet);
  try {
    const scores = { active: await scoresBy(active), candidate: await scoresBy(candidate) };
    return judgeCandidate(measure, scores, labels);
  } finally {
    tellDevices(devices(), active.fleet);
  }
}

/** Of the devices' calibration rows, finite or not. */
export async function calibrationScores(
  { model, manifest }: Scorer,
  devices: Iterable<Device>,
  weights: Float32Array,
): Promise<[Device, Float32Array][]> {
  const scored: [Device, Float32Array][] = [];
  for (const group of calibrationGroups(devices, manifest.featureCount)) {
    const { scores } = await model.score(weights, group.x, group.rows);
    let from = 0;
    for (const { device, rows } of group.members) {
      scored.push([device, scores.slice(from, from + rows)]);
      from += rows;
    }
  }
  return scored;
}

export function tellDevices(devices: Iterable<Device>, fleet: FleetStatistics): void {
  for (const device of devices) device.monitor?.adoptFleet(fleet);
}
