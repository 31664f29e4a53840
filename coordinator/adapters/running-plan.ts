// A plan's graphs in onnxruntime, for a dry run.
import { forestShape, packForest } from "../../learning/forest-weights.ts";
import { growTrees } from "../../learning/grow-trees.ts";
import { takesLabels } from "../../learning/models/signature.ts";
import { seededRandom } from "../../learning/random.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";
import { initialOptimiserState, PlanModel } from "../../runtime/plan-model.ts";
import type { RunningPlan } from "../core/dry-run.ts";

export interface OpenPlan extends RunningPlan {
  close(): Promise<void>;
}

/** Each of its calls rejects where the graphs can't be loaded, and once `signal` has aborted. */
export function openRunningPlan(bundle: PlanBundle, signal: AbortSignal): OpenPlan {
  const { manifest } = bundle;
  const { learningRate, seed } = manifest.training;
  const shape = forestShape(manifest);
  const loaded = PlanModel.load(bundle);
  loaded.catch(() => undefined); // whoever calls hears of it
  const model = async () => {
    signal.throwIfAborted();
    return loaded;
  };
  return {
    manifest,
    score: async (weights, x, rows) => (await model()).score(weights, x, rows),
    train: async (weights, x, rows) => {
      const graphs = await model();
      if (shape !== null) {
        const grown = packForest(growTrees(x, shape.features, shape, seededRandom(seed)), shape);
        const { scores } = await graphs.score(grown, x, rows);
        return { loss: scores.reduce((sum, score) => sum + score / rows, 0), weights: grown };
      }
      const y = takesLabels(manifest) ? new Float32Array(rows) : null; // calibration rows are taken as normal
      const point = { weights, base: weights, state: initialOptimiserState(manifest) };
      return graphs.train(point, { x, y, rows }, learningRate);
    },
    close: () =>
      loaded.then(
        (graphs) => graphs.release(),
        () => undefined,
      ),
  };
}
