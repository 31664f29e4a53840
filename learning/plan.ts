// What a cohort learns, as data: the settings a person writes and the manifest that is compiled from them.

import type { CombiningRule } from "./aggregation/rules.ts";
import type { ServerOptimiser } from "./aggregation/server-optimisers.ts";
import type { DeviceThresholdRule } from "./threshold-rules.ts";

export interface Channel {
  readonly name: string;
  /** Free text such as "mm/s"; shown, never computed with. */
  readonly unit: string;
}

export type RollingStatistic = "mean" | "std" | "z";

export interface FeatureSettings {
  /** Raw window: the last `windowRows` rows, normalised, oldest first (1 = the current row only). */
  readonly windowRows: number;
  /** Length of the rolling statistics; the row being scored is never part of its own statistics. */
  readonly rollingRows: number;
  readonly rolling: readonly RollingStatistic[];
}

export type ModelSettings =
  /** Reconstructs its features through tanh layers of these widths; the output layer is linear. */
  | { readonly kind: "dense_autoencoder"; readonly hidden: readonly number[] }
  /** Predicts the window's last row from the rows before it; no hidden layers = a linear forecaster. */
  | { readonly kind: "dense_forecaster"; readonly hidden: readonly number[] };

/** How a gateway's deltas travel. */
export type DeltaCodec =
  | { readonly kind: "float32" | "float16" | "int8" }
  /** `share` of the parameters is sent, in (0, 1]: the nearest whole number of them, at least one. */
  | { readonly kind: "top_k" | "top_k_int8"; readonly share: number };

export interface TrainingSettings {
  readonly learningRate: number;
  readonly batchRows: number;
  /** Train when this many new rows have come … */
  readonly triggerRows: number;
  /** … or this long after the last training, if there is any new row. */
  readonly triggerMs: number;
  /** Steps over the new rows per training. */
  readonly passes: number;
  /** Seed of the initial weights. */
  readonly seed: number;
  readonly codec: DeltaCodec;
}

export interface ThresholdSettings {
  /** Fitted to the scores of the device's own calibration rows. */
  readonly rule: DeviceThresholdRule;
  /** How many recent training rows a device keeps to calibrate on. */
  readonly rows: number;
}

export interface PlanSettings {
  readonly channels: readonly Channel[];
  /** Rows a device's own statistics learn from before its first features. */
  readonly commissioningRows: number;
  /** Memory of the streaming normaliser, in rows; older rows fade. */
  readonly normaliserRows: number;
  readonly features: FeatureSettings;
  readonly model: ModelSettings;
  readonly training: TrainingSettings;
  readonly threshold: ThresholdSettings;
}

/** One tensor of the flat weight vector: elements [offset, offset + product(shape)). */
export interface WeightTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
}

export interface Manifest extends PlanSettings {
  readonly formatVersion: 1;
  readonly featureCount: number;
  readonly weights: readonly WeightTensor[];
  /** For each column of the model's residual output, the index of the channel it speaks of. */
  readonly residualChannels: readonly number[];
}

export interface RoundSettings {
  /** K: a round closes at this many updates … */
  readonly updates: number;
  /** … or this long after its first update … */
  readonly deadlineMs: number;
  /** … from at least this many distinct gateways; otherwise it stays open. */
  readonly minGateways: number;
  /** Updates whose base is more champions behind than this are refused as stale. */
  readonly maxStaleness: number;
}

/** What the coordinator does with a cohort's updates; not part of the plan the agents hold. */
export interface FederationSettings {
  readonly round: RoundSettings;
  /** From the gateways' pulls to one delta … */
  readonly rule: CombiningRule;
  /** … and from that to the step that the champion's weights take. */
  readonly optimiser: ServerOptimiser;
  readonly gate: {
    /** A candidate is rejected when its held-out quality is more than this below the champion's. */
    readonly margin: number;
  };
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
