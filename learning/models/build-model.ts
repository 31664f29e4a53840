// The graphs and the weight layout of the model that a plan asks for.
import { featureLayout } from "../features.ts";
import { forestLayout } from "../forest-weights.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Value } from "../graph/graph.ts";
import type { ModelSettings, PlanSettings, WeightTensor } from "../plan.ts";
import { type Convolutions, conv, convWeights } from "./conv.ts";
import { dense, denseWeights } from "./dense.ts";
import { crossEntropy, errorLoss } from "./losses.ts";
import { errorScoreGraph, probabilityScoreGraph } from "./score-graph.ts";
import { type Objective, type TrainGraph, trainGraph } from "./train-graph.ts";

export interface Model {
  readonly weights: readonly WeightTensor[];
  /** For each column of the score graph's `residual`, the index of the channel it speaks of. */
  readonly residualChannels: readonly number[];
  /** Null for a forest: what it computes is in its weights. */
  readonly graphs: {
    /** As scoreSignature says. */
    readonly score: Graph;
    /** As trainSignature says. */
    readonly train: TrainGraph;
  } | null;
}

export class ModelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ModelError";
  }
}

/** Throws ModelError if model, features, loss and score do not fit each other. */
export function buildModel(settings: PlanSettings): Model {
  switch (settings.model.kind) {
    case "classifier":
      return classifier(settings, settings.model.hidden);
    case "isolation_forest":
      return forest(settings, settings.model);
    default:
      return errorModel(settings, settings.model);
  }
}

type ForestSettings = Extract<ModelSettings, { kind: "isolation_forest" }>;
type ErrorModelSettings = Exclude<ModelSettings, ForestSettings | { kind: "classifier" }>;

/** Its residuals are the features' squares: how far each is from the device's reference. */
function forest(settings: PlanSettings, model: ForestSettings): Model {
  if (settings.score.largest !== null)
    throw new ModelError("an isolation_forest needs score.largest to be null: its score is of all features");
  return { weights: forestLayout(model), residualChannels: featureLayout(settings).channelOf, graphs: null };
}

/** A model that says what a row should be: its errors are what is abnormal about the row. */
function errorModel(settings: PlanSettings, model: ErrorModelSettings): Model {
  const { loss } = settings.training;
  if (loss.kind === "cross_entropy")
    throw new ModelError(
      `a ${model.kind} needs training.loss of kind squared or huber; cross_entropy is a classifier's`,
    );
  const { channelOf, ...network } = errorNetwork(settings, model);
  const { largest } = settings.score;
  if (largest !== null && largest > channelOf.length)
    throw new ModelError(
      `score.largest of ${largest} must be null or 1 to ${channelOf.length}, the model's errors a row`,
    );
  return {
    weights: network.layout,
    residualChannels: channelOf,
    graphs: {
      score: errorScoreGraph(network, largest),
      train: trainGraph({ ...network, loss: (b, error) => errorLoss(b, error, loss) }, settings.training),
    },
  };
}

type Network = Pick<Objective, "featureCount" | "layout" | "output">;
/** Its output is prediction less target, [N,R]; `channelOf` is of R. */
type ErrorNetwork = Network & { readonly channelOf: readonly number[] };

function errorNetwork(settings: PlanSettings, model: ErrorModelSettings): ErrorNetwork {
  const { featureCount, channelOf } = featureLayout(settings);
  const reconstructs = (layout: WeightTensor[], prediction: Objective["output"]): ErrorNetwork => ({
    featureCount,
    channelOf,
    layout,
    output: (b, x, weights) => b.sub(prediction(b, x, weights), x),
  });
  switch (model.kind) {
    case "dense_autoencoder":
      if (model.hidden.length === 0) throw new ModelError("a dense_autoencoder needs at least one hidden layer");
      return reconstructs(denseWeights([featureCount, ...model.hidden, featureCount]), dense);
    case "conv_autoencoder": {
      const convolutions = convolutionsOf(settings, model);
      return reconstructs(convWeights(convolutions), (b, x, weights) => conv(b, x, weights, convolutions));
    }
    case "dense_forecaster":
      return forecaster(settings, model.hidden);
  }
}

function convolutionsOf(
  settings: PlanSettings,
  { filters, kernel }: ModelSettings & { kind: "conv_autoencoder" },
): Convolutions {
  const channels = settings.channels.length;
  return { rows: windowRows(settings, kernel, "the kernel's"), kernel, widths: [channels, ...filters, channels] };
}

/** The window's last row is predicted from the rows before it. */
function forecaster(settings: PlanSettings, hidden: readonly number[]): ErrorNetwork {
  const { featureCount, channelOf } = featureLayout(settings);
  windowRows(settings, 2, "one to predict and one to predict it from");
  const before = featureCount - settings.channels.length;
  return {
    featureCount,
    channelOf: channelOf.slice(before),
    layout: denseWeights([before, ...hidden, featureCount - before]),
    output: (b: GraphBuilder, x: Value, weights: readonly Value[]) =>
      b.sub(dense(b, b.slice(x, 1, 0, before), weights), b.slice(x, 1, before, featureCount)),
  };
}

/** The length of the window that the features must be, and nothing else. */
function windowRows({ model, features }: PlanSettings, least: number, why: string): number {
  const [column, ...others] = features.columns;
  if (column?.kind !== "window" || others.length > 0)
    throw new ModelError(`a ${model.kind} needs features.columns to be exactly one of kind window`);
  if (column.rows < least)
    throw new ModelError(`a ${model.kind} needs a window of at least ${least} rows (${why}), not ${column.rows}`);
  return column.rows;
}

function classifier(settings: PlanSettings, hidden: readonly number[]): Model {
  const { score, training } = settings;
  if (training.loss.kind !== "cross_entropy")
    throw new ModelError(`a classifier needs training.loss of kind cross_entropy, not ${training.loss.kind}`);
  if (score.largest !== null)
    throw new ModelError("a classifier needs score.largest to be null: its score is a probability");
  const { featureCount, channelOf } = featureLayout(settings);
  const layout = denseWeights([featureCount, ...hidden, 1]);
  const network: Network = { featureCount, layout, output: (b, x, weights) => b.squeeze(dense(b, x, weights), [1]) };
  return {
    weights: layout,
    residualChannels: channelOf,
    graphs: {
      score: probabilityScoreGraph(network),
      train: trainGraph({ ...network, loss: (b, logit) => crossEntropy(b, logit, b.input("y", ["N"])) }, training),
    },
  };
}
