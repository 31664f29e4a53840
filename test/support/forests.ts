// Forests of a plan, as gateways would send them.
import { compilePlan } from "../../learning/compile-plan.ts";
import { type ForestShape, forestShape, packForest } from "../../learning/forest-weights.ts";
import { growTrees } from "../../learning/grow-trees.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";

export function shapeOf(plan: PlanSettings): ForestShape {
  const shape = forestShape(compilePlan(plan).manifest);
  if (shape === null) throw new Error(`a ${plan.model.kind} is no forest`);
  return shape;
}

/** Weights of trees grown from features of chance around `centre`. */
export function aForest(shape: ForestShape, seed: number, centre = 0): Float32Array {
  const random = seededRandom(seed);
  const length = 2 * shape.subsampleRows * shape.features;
  const x = Float32Array.from({ length }, () => centre + random.normal());
  return packForest(growTrees(x, shape.features, shape, random), shape);
}
