// The graphs and the weight layout of the model that a plan asks for.
import { featureLayout } from "../features.ts";
import type { Graph } from "../graph/graph.ts";
import type { PlanSettings, WeightTensor } from "../plan.ts";
import { type Regression, regressionGraphs } from "./regression.ts";

export interface Model {
  readonly weights: readonly WeightTensor[];
  /** For each column of the score graph's `residual`, the index of the channel it speaks of. */
  readonly residualChannels: readonly number[];
  readonly score: Graph;
  readonly train: Graph;
}

export class ModelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ModelError";
  }
}

/** Throws ModelError if the model does not fit the features. */
export function buildModel(settings: PlanSettings): Model {
  const { featureCount, channelOf } = featureLayout(settings);
  const { hidden } = settings.model;
  const all = { start: 0, end: featureCount };
  switch (settings.model.kind) {
    case "dense_autoencoder": {
      if (hidden.length === 0) throw new ModelError("a dense_autoencoder needs at least one hidden layer");
      return { ...regressionGraphs({ featureCount, from: all, to: all, hidden }), residualChannels: channelOf };
    }
    case "dense_forecaster": {
      const { from, to } = forecasterColumns(settings, featureCount);
      return {
        ...regressionGraphs({ featureCount, from, to, hidden }),
        residualChannels: channelOf.slice(to.start, to.end),
      };
    }
  }
}

/** The window's last row is predicted from the rows before it. */
function forecasterColumns(
  { channels, features }: PlanSettings,
  featureCount: number,
): Pick<Regression, "from" | "to"> {
  if (features.windowRows < 2) throw new ModelError("a dense_forecaster needs features.windowRows of at least 2");
  if (features.rolling.length > 0) throw new ModelError("a dense_forecaster needs features.rolling to be empty");
  const lastRow = featureCount - channels.length;
  return { from: { start: 0, end: lastRow }, to: { start: lastRow, end: featureCount } };
}
