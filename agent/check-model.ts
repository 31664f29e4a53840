// Whether a global model that came can be used: its weights and fleet statistics are the plan's, its scores are numbers.
import { type FleetStatistics, isUsableFleet } from "../learning/fleet.ts";
import { forestShape, unpackForest } from "../learning/forest-weights.ts";
import { InvalidTreesError } from "../learning/isolation-trees.ts";
import { type Manifest, weightCount } from "../learning/plan.ts";

export class UnusableModelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnusableModelError";
  }
}

/** Throws UnusableModelError unless they are weights of the plan. */
export function checkWeights(manifest: Manifest, weights: Float32Array): void {
  const count = weightCount(manifest.weights);
  if (weights.length !== count) throw new UnusableModelError(`${weights.length} weights; the plan has ${count}`);
  const shape = forestShape(manifest);
  try {
    if (shape !== null) unpackForest(weights, shape);
  } catch (error) {
    throw error instanceof InvalidTreesError ? new UnusableModelError(error.message) : error;
  }
}

/** Throws UnusableModelError unless they fit the plan. */
export function checkFleet(manifest: Manifest, fleet: FleetStatistics): void {
  if (!isUsableFleet(manifest, fleet)) throw new UnusableModelError("its fleet statistics don't fit the plan");
}
