// What stands in which column of a feature row: the plan's columns in their order, each for every channel.
import type { ColumnSettings, PlanSettings } from "./plan.ts";

/** How a column's value becomes a feature, given its channel's scale s. */
export type Squash =
  /** A distance d in the channel's unit: asinh(d / s). */
  | "distance"
  /** A deviation σ in the channel's unit: ln(σ / s), within bounds. */
  | "spread"
  /** It is one already. */
  | "none";

export interface FeatureLayout {
  readonly featureCount: number;
  /** For each feature, the index of the channel it speaks of. */
  readonly channelOf: readonly number[];
  readonly squashOf: readonly Squash[];
}

/** Lengths are featureCount = channels × columns of a channel; feature i speaks of channel i mod channels. */
export function featureLayout({ channels, features }: Pick<PlanSettings, "channels" | "features">): FeatureLayout {
  const squashes = features.columns.flatMap(squashesOf);
  return {
    featureCount: channels.length * squashes.length,
    channelOf: squashes.flatMap(() => channels.map((_, channel) => channel)),
    squashOf: squashes.flatMap((squash) => channels.map(() => squash)),
  };
}

/** One for each column that a channel gets. */
function squashesOf(column: ColumnSettings): Squash[] {
  switch (column.kind) {
    case "window":
      return Array.from({ length: column.rows }, () => "distance");
    case "means":
    case "lags":
    case "differences":
      return column.rows.map(() => "distance");
    case "rolling":
      return column.statistics.map((statistic) => rollingSquash[statistic]);
    case "missing":
      return ["none"];
  }
}

const rollingSquash = { mean: "distance", std: "spread", z: "none" } as const;

/** Rows that must have come before the first one that has features for all the columns. */
export function lookBackRows(columns: readonly ColumnSettings[]): number {
  return Math.max(...columns.map(lookBackOf));
}

function lookBackOf(column: ColumnSettings): number {
  switch (column.kind) {
    case "window":
      return column.rows - 1;
    case "means":
      return Math.max(...column.rows) - 1;
    case "lags":
    case "differences":
      return Math.max(...column.rows);
    case "rolling":
      return 1;
    case "missing":
      return 0;
  }
}
