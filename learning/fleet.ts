// What similar devices tell one another about scales and thresholds: no readings, and of scores only a pooled sketch.
import type { PlanSettings } from "./plan.ts";
import type { QuantileSketch } from "./sketch.ts";
import { pooledFactor, ratioSketch } from "./threshold-rules.ts";

/** Of one calibrated device; it does not leave the gateway. */
export interface DeviceStatistics {
  /** Its own scale of each channel, before any floor of the fleet's, in the channel's unit; empty where a plan has none. */
  readonly scales: Float64Array;
  /** Of its calibration rows, in any order. */
  readonly scores: Float32Array;
}

/** What a gateway tells of a cohort's calibrated devices, of which there is at least one. */
export interface GatewayStatistics {
  /** How many they are. */
  readonly devices: number;
  /** The median over the devices of each channel's scale; null: the plan does not ask, or a channel has none. */
  readonly scales: Float64Array | null;
  /** Sketch of score / own median of all devices; null: the plan does not ask, or no device could tell. */
  readonly ratios: QuantileSketch | null;
}

/** What the fleet tells every device. */
export interface FleetStatistics {
  /** Of each channel, in its unit; finite and positive. Null: not known, or not asked for by the plan. */
  readonly scales: Float64Array | null;
  /** The fleet's quantile of score / own median, finite and positive. Null: as above. */
  readonly thresholdFactor: number | null;
}

export const noFleet: FleetStatistics = { scales: null, thresholdFactor: null };

/** The parts of a plan that say what its gateways tell one another. */
export type FleetPlan = Pick<PlanSettings, "channels" | "features" | "threshold">;

/** One gateway's scales are only its own. */
const MIN_SCALE_GATEWAYS = 2;

/** Whether devices of the plan use the median of the fleet's scales. */
export const asksForScales = ({ features: { reference } }: FleetPlan): boolean =>
  reference.kind === "gated_baseline" && reference.fleetFloor > 0;

/** The quantile of score / own median that devices of the plan use the fleet's of; null: none. */
export const askedQuantile = ({ threshold: { rule } }: FleetPlan): number | null =>
  rule.kind === "federated_conformal" ? rule.quantile : null;

/** The lower median of each column, over the values that are finite and positive; null when a column has none. */
function columnMedians(rows: readonly Float64Array[], columns: number): Float64Array | null {
  const medians = new Float64Array(columns);
  for (let column = 0; column < columns; column++) {
    const values = rows.map((row) => Number(row[column])).filter((value) => value > 0 && Number.isFinite(value));
    if (values.length === 0) return null;
    medians[column] = values.sort((a, b) => a - b)[(values.length - 1) >> 1] ?? 0;
  }
  return medians;
}

/**
 * What a gateway tells of its calibrated devices; null when the plan asks for nothing or they can tell nothing. Each
 * gateway needs a `seed` of its own. Medians: one device that measures another thing moves none of them.
 */
export function poolDevices(
  plan: FleetPlan,
  devices: readonly DeviceStatistics[],
  seed: number,
): GatewayStatistics | null {
  const rows = devices.map(({ scales }) => scales);
  const scales = asksForScales(plan) ? columnMedians(rows, plan.channels.length) : null;
  const ratios = askedQuantile(plan) === null ? null : mergedRatios(devices, seed);
  return scales === null && ratios === null ? null : { devices: devices.length, scales, ratios };
}

function mergedRatios(devices: readonly DeviceStatistics[], seed: number): QuantileSketch | null {
  const sketches = devices.map(({ scores }, index) => ratioSketch(scores, seed + index));
  const [merged, ...others] = sketches.filter((sketch) => sketch !== null);
  if (merged === undefined) return null;
  for (const sketch of others) merged.merge(sketch);
  return merged;
}

/**
 * What the fleet knows from the latest word of each of its gateways, in any order. Scales: the median over at least two
 * gateways, one voice each, never the mean: one lying gateway took a fleet's mean to F1 .478 (one alone would only hear
 * its own). The factor is known from one gateway on; `pooledFactor` leaves out those that stand far from the others, so of
 * three or more gateways a minority cannot move it more than fourfold.
 */
export function poolGateways(plan: FleetPlan, gateways: readonly GatewayStatistics[]): FleetStatistics {
  const told = gateways.flatMap(({ scales }) => (scales === null ? [] : [scales]));
  const asked = asksForScales(plan) && told.length >= MIN_SCALE_GATEWAYS;
  const q = askedQuantile(plan);
  const sketches = gateways.flatMap(({ ratios }) => (ratios === null ? [] : [ratios]));
  return {
    scales: asked ? columnMedians(told, plan.channels.length) : null,
    thresholdFactor: q === null ? null : pooledFactor(sketches, q).factor,
  };
}

/** Whether devices of the plan can adopt it: a scale for each channel, everything finite and positive. */
export function isUsableFleet({ channels }: FleetPlan, { scales, thresholdFactor }: FleetStatistics): boolean {
  const positive = (value: number) => value > 0 && Number.isFinite(value);
  const fits = scales === null || (scales.length === channels.length && scales.every(positive));
  return fits && (thresholdFactor === null || positive(thresholdFactor));
}

/** Whether both say the same. */
export function sameFleet(a: FleetStatistics, b: FleetStatistics): boolean {
  if (a.thresholdFactor !== b.thresholdFactor) return false;
  if (a.scales === null || b.scales === null) return a.scales === b.scales;
  const other = b.scales;
  return a.scales.length === other.length && a.scales.every((scale, channel) => scale === other[channel]);
}
