// What stands in which column of a feature row: the raw window, oldest row first, then each rolling statistic.
import type { PlanSettings } from "./plan.ts";

export interface FeatureLayout {
  readonly featureCount: number;
  /** For each feature, the index of the channel it speaks of. */
  readonly channelOf: readonly number[];
}

export function featureLayout({ channels, features }: Pick<PlanSettings, "channels" | "features">): FeatureLayout {
  const featureCount = channels.length * (features.windowRows + features.rolling.length);
  return { featureCount, channelOf: Array.from({ length: featureCount }, (_, column) => column % channels.length) };
}
