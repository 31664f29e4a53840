// Turns the settings that a person writes into everything a gateway needs to learn by them.
import { featureLayout } from "./features.ts";
import { forestShape, unsplitForest } from "./forest-weights.ts";
import type { Graph } from "./graph/graph.ts";
import { buildModel } from "./models/build-model.ts";
import { MANIFEST_VERSION, type Manifest, type PlanSettings, type WeightTensor, weightCount } from "./plan.ts";
import { type Random, seededRandom } from "./random.ts";

export interface CompiledGraphs {
  readonly score: Graph;
  readonly train: Graph;
  /** The value within `train` that is the gradient of its loss, for checks. */
  readonly gradient: string;
}

export interface CompiledPlan {
  readonly manifest: Manifest;
  /** Null for a forest: its graph is made of its weights. */
  readonly graphs: CompiledGraphs | null;
  /** In the manifest's layout order. */
  readonly initialWeights: Float32Array;
}

/** The same settings give the same plan, to the bit. Throws ModelError if the model does not fit the features. */
export function compilePlan(settings: PlanSettings): CompiledPlan {
  const { weights, residualChannels, graphs } = buildModel(settings);
  const { featureCount } = featureLayout(settings);
  const manifest: Manifest = {
    ...settings,
    formatVersion: MANIFEST_VERSION,
    featureCount,
    weights,
    residualChannels,
  };
  const shape = forestShape(manifest);
  return {
    manifest,
    graphs: graphs && { score: graphs.score, train: graphs.train.graph, gradient: graphs.train.gradient },
    initialWeights:
      shape === null ? initialWeights(weights, seededRandom(settings.training.seed)) : unsplitForest(shape),
  };
}

/** Matrices uniform in ±√(6 / (rows + columns)), vectors zero. Glorot and Bengio 2010, equation 16. */
function initialWeights(layout: readonly WeightTensor[], random: Random): Float32Array {
  const flat = new Float32Array(weightCount(layout));
  for (const { shape, offset } of layout) {
    const [rows, columns] = shape;
    if (rows === undefined || columns === undefined) continue;
    const limit = Math.sqrt(6 / (rows + columns));
    for (let at = 0; at < rows * columns; at++) flat[offset + at] = limit * (2 * random.next() - 1);
  }
  return flat;
}
