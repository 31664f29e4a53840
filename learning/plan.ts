// What a cohort learns, as data: the settings a person writes and the manifest that is compiled from them.

import type { CombiningRule } from "./aggregation/rules.ts";
import type { ServerOptimiser } from "./aggregation/server-optimisers.ts";
import type { ThresholdRule } from "./threshold-rules.ts";

export interface Channel {
  readonly name: string;
  /** Free text such as "mm/s"; shown, never computed with. */
  readonly unit: string;
}

export type RollingStatistic = "mean" | "std" | "z";

/** How a device's way out of its normal state and back is told; see stepExcursion. Scores are told as shares of the threshold. */
export interface ExcursionSettings {
  /** What began above the threshold lasts while the score stays above this share of it, (0, 1]. */
  readonly clearBelow: number;
  /** Rows below this share of the peak, [0, 1), do not count as anomalous … */
  readonly belowPeak: number;
  /** … and after so many in a row the reference begins anew where the device is then … */
  readonly releaseRows: number;
  /** … or at the latest after this long, whatever the score says; null: never. */
  readonly releaseAfterMs: number | null;
}

/** Scales that grow with a device's restlessness, while no excursion is on, and never below the commissioned ones. */
export interface AdaptationSettings {
  /** Memory in rows for more, and for less, than there was. */
  readonly upRows: number;
  readonly downRows: number;
  /** At most so many times the commissioned scale. */
  readonly atMost: number;
}

/** What a channel's readings are told from: a level and a scale of the device's own, in the channel's unit. */
export type ReferenceSettings =
  /** Streaming mean and deviation over `rows` (older rows fade), in force from one training to the next. */
  | { readonly kind: "normaliser"; readonly rows: number }
  /** A level that follows slowly, and a scale that is fitted to the commissioning rows and stays. */
  | {
      readonly kind: "gated_baseline";
      /** The level follows with a memory of so many rows. */
      readonly memoryRows: number;
      /** Once commissioned a channel's level stands still while its mean over `meanRows` is more than `gate` scales away. */
      readonly meanRows: number;
      readonly gate: number;
      /** The scale is the rms of that mean's distance from the level over the commissioning rows from this one on. */
      readonly scaleFromRow: number;
      /** Scales are at least this share of the cohort's median, once that is known: for similar machines only; 0: never. */
      readonly fleetFloor: number;
      /** Where an excursion begins, the level goes back to what it was so many rows before; 0: it stays. */
      readonly rollBackRows: number;
      readonly adaptation: AdaptationSettings | null;
    };

/** A period's usual distance from the level, learned for each of its equal parts ("day" and "week" are UTC's). */
export interface SeasonSettings {
  readonly period: "day" | "week";
  readonly bins: number;
}

/** Feature columns, one of each channel unless said otherwise; lengths and ages are in rows. */
export type ColumnSettings =
  /** The last `rows` rows, oldest first, the current one last. */
  | { readonly kind: "window"; readonly rows: number }
  /** For each length the mean over the rows up to and with the current one. */
  | { readonly kind: "means"; readonly rows: readonly number[] }
  /** Over the rows before the current one, which is never part of its own statistics. */
  | { readonly kind: "rolling"; readonly rows: number; readonly statistics: readonly RollingStatistic[] }
  /** For each age the row that came so many rows before the current one. */
  | { readonly kind: "lags"; readonly rows: readonly number[] }
  /** For each age the current row less the one that came so many rows before it. */
  | { readonly kind: "differences"; readonly rows: readonly number[] }
  /** 1 where the current row lacks the channel, else 0. With these columns, and only then, a row may lack channels. */
  | { readonly kind: "missing" };

export interface FeatureSettings {
  /** Of the meaning of all these settings; another one is refused. */
  readonly version: 1;
  readonly reference: ReferenceSettings;
  readonly season: SeasonSettings | null;
  /** a: a distance of z scales becomes a · asinh(z / a): the larger, the longer a feature grows with it. */
  readonly squash: number;
  readonly columns: readonly ColumnSettings[];
}

export type ModelSettings =
  /** Reconstructs its features through tanh layers of these widths; the output layer is linear. */
  | { readonly kind: "dense_autoencoder"; readonly hidden: readonly number[] }
  /** Reconstructs a window through 1-D convolutions over its rows, `filters` of them a layer, each `kernel` rows wide. */
  | { readonly kind: "conv_autoencoder"; readonly filters: readonly number[]; readonly kernel: number }
  /** Predicts the window's last row from the rows before it; no hidden layers = a linear forecaster. */
  | { readonly kind: "dense_forecaster"; readonly hidden: readonly number[] }
  /** The probability that a row is an anomaly, learned from labelled rows alone; no hidden layers = logistic. */
  | { readonly kind: "classifier"; readonly hidden: readonly number[] }
  /** So many trees, each grown from so many rows: a gateway's own, and as many of all gateways' in the champion. */
  | { readonly kind: "isolation_forest"; readonly trees: number; readonly subsampleRows: number };

/** How a row's residuals become its score. */
export interface ScoreSettings {
  /** The root of the mean of so many of the row's largest squared residuals; null: of all of them. */
  readonly largest: number | null;
  /** The score that is judged is the mean over so many rows, the current one last; 1: the row's own. */
  readonly trailingRows: number;
}

export type LossSettings =
  | { readonly kind: "squared" }
  /** Squared up to `delta`, linear beyond. Huber 1964. */
  | { readonly kind: "huber"; readonly delta: number }
  /** Of a classifier, and no other model. */
  | { readonly kind: "cross_entropy" };

/** Its state begins at zero with every training. */
export type OptimiserSettings =
  | { readonly kind: "sgd" }
  | { readonly kind: "momentum"; readonly momentum: number }
  /** Kingma & Ba 2015. */
  | { readonly kind: "adam"; readonly beta1: number; readonly beta2: number };

/** How a gateway's deltas travel; a forest's trees travel as float32. */
export type DeltaCodec =
  | { readonly kind: "float32" | "float16" | "int8" }
  /** `share` of the parameters is sent, in (0, 1]: the nearest whole number of them, at least one. */
  | { readonly kind: "top_k" | "top_k_int8"; readonly share: number };

/** A forest is grown, not descended: of these it heeds the triggers, `seed` and `codec`. */
export interface TrainingSettings {
  readonly learningRate: number;
  readonly batchRows: number;
  /** Train when this many new rows have come … */
  readonly triggerRows: number;
  /** … or this long after the last training, if there is any new row. */
  readonly triggerMs: number;
  /** Passes over the rows of a training. */
  readonly passes: number;
  /** What a training goes over: the rows since the last one, or all of the devices' recent good rows. */
  readonly learnFrom: "new_rows" | "recent_rows";
  readonly loss: LossSettings;
  readonly optimiser: OptimiserSettings;
  /** Largest 2-norm of a step's gradient, which is scaled down to it; null: no bound. */
  readonly clip: number | null;
  /** λ of ½ λ ‖weights‖² in the loss; biases are left out. */
  readonly l2: number;
  /** μ of ½ μ ‖weights − champion's‖² in the loss. FedProx, Li et al. 2020. */
  readonly proximal: number;
  /** Seed of the initial weights. */
  readonly seed: number;
  readonly codec: DeltaCodec;
}

/** The champion's last layers, moved on each gateway to fit its own rows: for its scores alone, and never sent. */
export interface FineTuningSettings {
  /** How many of them, counted from the output's; all others stay the champion's. */
  readonly layers: number;
  /** Over the gateway's recent rows, at the plan's learning rate. */
  readonly passes: number;
}

export interface ThresholdSettings {
  /** Fitted to the scores of the device's own calibration rows. */
  readonly rule: ThresholdRule;
  /** How many recent training rows a device keeps to calibrate on. */
  readonly rows: number;
}

export type AlarmSettings =
  /** Raised by 3 of 5 rows over the threshold, cleared by a minute of quiet: for states that last. */
  | { readonly kind: "lasting" }
  /** Raised by one row, cleared after `refractoryMs` without another: for rare point events, told once. */
  | { readonly kind: "onset"; readonly refractoryMs: number };

export interface PlanSettings {
  readonly channels: readonly Channel[];
  /** Rows a device's own reference learns from before its first features. */
  readonly commissioningRows: number;
  readonly features: FeatureSettings;
  readonly model: ModelSettings;
  readonly score: ScoreSettings;
  readonly training: TrainingSettings;
  /** Absent: gateways score by the champion's weights as they are. */
  readonly fineTuning?: FineTuningSettings;
  readonly threshold: ThresholdSettings;
  /** Null: a row counts as anomalous when its score is over the threshold, whatever came before it. */
  readonly excursion: ExcursionSettings | null;
  readonly alarm: AlarmSettings;
}

/** One tensor of the flat weight vector: elements [offset, offset + product(shape)). */
export interface WeightTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** Of the manifest's keys and what they mean; one of another version is refused. */
export const MANIFEST_VERSION = 2;

export interface Manifest extends PlanSettings {
  readonly formatVersion: typeof MANIFEST_VERSION;
  readonly featureCount: number;
  readonly weights: readonly WeightTensor[];
  /** For each column of the model's residual output, the index of the channel it speaks of. */
  readonly residualChannels: readonly number[];
}

/** What a plan computes, in the ONNX file format. */
export interface PlanGraphs {
  /** One graph for all weights; of a forest, one for each: it throws InvalidTreesError for weights that are none. */
  readonly scoreOnnx: Uint8Array | ((weights: Float32Array) => Uint8Array);
  /** Null for a forest, which is grown. */
  readonly trainOnnx: Uint8Array | null;
}

interface AnyRoundSettings {
  /** In any mode: how long a round waits for updates, from its first one or from its invitation. */
  readonly deadlineMs: number;
  /** At its deadline a round closes with updates of at least this many distinct gateways, and never with fewer. */
  readonly minGateways: number;
  /** Updates whose base is more champions behind than this are refused as stale. */
  readonly maxStaleness: number;
}

/** Gateways train when they have rows, and a round is what came meanwhile. Nguyen et al. 2022 (FedBuff). */
export interface BufferedRoundSettings extends AnyRoundSettings {
  readonly mode: "buffered";
  /** K: a round closes at this many updates … */
  readonly updates: number;
  /** … or takes in more of them until so long after the round before: each champion goes to every gateway. */
  readonly intervalMs: number;
}

/** Gateways train when they are invited, all from the same champion. McMahan et al. 2017; Bonawitz et al. 2019. */
export interface SynchronousRoundSettings extends AnyRoundSettings {
  readonly mode: "synchronous";
  /** A round closes at updates of this many distinct gateways. */
  readonly gateways: number;
  /** So many more are invited, as a share of those wanted, because some will not answer. */
  readonly overSelection: number;
}

export type RoundSettings = BufferedRoundSettings | SynchronousRoundSettings;

/** How many rows a gateway can have learned from, by what time allows: a bucket that fills by the second. */
export interface SampleBoundSettings {
  readonly rowsPerSecond: number;
  /** The bucket holds what so long a time gives: the outage after which an outbox is still taken whole. */
  readonly burstMs: number;
}

/** What the coordinator does with a cohort's updates; not part of the plan the agents hold. */
export interface FederationSettings {
  readonly round: RoundSettings;
  readonly samples: SampleBoundSettings;
  /** From the gateways' pulls to one delta, or from their trees to one forest … */
  readonly rule: CombiningRule;
  /** … and from a delta to the step that the champion's weights take. */
  readonly optimiser: ServerOptimiser;
  readonly gate: {
    /** A candidate is rejected when its held-out quality is more than this below the champion's. */
    readonly margin: number;
  };
  /** Reference gateways whose labelled rows come by MQTT: candidates are measured on them, and nobody trains on them. */
  readonly live: readonly LiveStreamSettings[];
  readonly drift: DriftSettings;
}

export interface LiveStreamSettings {
  readonly device: string;
  readonly topic: string;
  /** Where labels of rows come, by their time; null: rows bring their own. */
  readonly labelTopic: string | null;
  /** The field beside the channels that labels a row; null: one of the usual names. */
  readonly labelField: string | null;
  /** A window begins at each multiple of it since 1970. */
  readonly windowMs: number;
  /** So long after the newest row, by row times, an older row or a label may still come. */
  readonly latenessMs: number;
}

export type DriftAction = "event" | "round" | "rollback";

/** When the champion has drifted from what a live stream shows, and what is done then. */
export interface DriftSettings {
  /** How far its quality has to fall below its reference … */
  readonly drop: number;
  /** … after so many windows in a row. */
  readonly windows: number;
  /** Quality is that of the last so many labelled rows. */
  readonly rows: number;
  readonly action: DriftAction;
}

export interface CohortSettings {
  readonly cohort: string;
  readonly plan: PlanSettings;
  readonly federation: FederationSettings;
}

/** Parameters of the flat weight vector. */
export function weightCount(weights: readonly WeightTensor[]): number {
  return weights.reduce((sum, tensor) => sum + tensor.shape.reduce((a, b) => a * b, 1), 0);
}
