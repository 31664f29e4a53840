// Manifests whose front end is what a test is about: they have no model.
import { featureLayout } from "../../learning/features.ts";
import type {
  ColumnSettings,
  FeatureSettings,
  Manifest,
  PlanSettings,
  ReferenceSettings,
} from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { featuresOf, JUDGING, TRAINING } from "./plan-settings.ts";

export type GatedSettings = Extract<ReferenceSettings, { kind: "gated_baseline" }>;

export const GATED: GatedSettings = {
  kind: "gated_baseline",
  memoryRows: 50,
  meanRows: 8,
  gate: 5,
  scaleFromRow: 20,
  fleetFloor: 0,
  rollBackRows: 0,
  adaptation: null,
};

export function manifestOf({
  channelCount = 2,
  ...change
}: Partial<PlanSettings> & { channelCount?: number }): Manifest {
  const settings: PlanSettings = {
    channels: Array.from({ length: channelCount }, (_, i) => ({ name: `c${i}`, unit: "" })),
    commissioningRows: 40,
    ...JUDGING,
    features: featuresOf({ kind: "window", rows: 1 }),
    model: { kind: "dense_autoencoder", hidden: [2] },
    training: TRAINING,
    threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows: 100 },
    ...change,
  };
  const { featureCount } = featureLayout(settings);
  return { ...settings, formatVersion: 2, featureCount, weights: [], residualChannels: [] };
}

/** Columns over the gated baseline. */
export const gatedFeatures = (change: Partial<GatedSettings>, ...columns: ColumnSettings[]): FeatureSettings => ({
  ...featuresOf(...columns),
  reference: { ...GATED, ...change },
});

/** `count` rows of independent normal values. */
export function rowsOf(channels: number, count: number, scale = 1, level = 0, seed = 1): Float64Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () =>
    Float64Array.from({ length: channels }, () => level + scale * random.normal()),
  );
}

export const columnOf = (rows: readonly Float64Array[], c: number): number[] => rows.map((row) => row[c] as number);
export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
export const std = (values: readonly number[]): number =>
  Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));
