// Whether what a gateway tells of its devices counts: pure checks, each with a typed reason.
import { askedQuantile, asksForScales, type GatewayStatistics } from "../../learning/fleet.ts";
import { QuantileSketch, SketchBytesError } from "../../learning/sketch.ts";
import type { CohortState } from "./cohort-state.ts";

/** As it came over the wire. */
export interface StatisticsClaim {
  readonly planId: string;
  readonly globalVersion: number;
  readonly devices: number;
  /** Empty: not told. */
  readonly scales: readonly number[];
  /** Empty: not told. */
  readonly ratios: Uint8Array;
}

export interface StatisticsRefusal {
  readonly reason:
    | "unknown_plan"
    | "unknown_base"
    | "bad_devices"
    | "not_asked"
    | "nothing_told"
    | "bad_scales"
    | "sketch_too_large"
    | "undecodable_sketch";
  readonly message: string;
}

const MAX_DEVICES = 100_000;
/** Twice what a gateway of 2,000 devices needs. */
const MAX_SKETCH_BYTES = 4096;

/** What was told, or why it can't count. */
export function checkStatistics(claim: StatisticsClaim, cohort: CohortState): GatewayStatistics | StatisticsRefusal {
  const { planId, globalVersion, devices, scales, ratios } = claim;
  const { manifest } = cohort;
  const told = { scales: scales.length > 0, ratios: ratios.length > 0 };
  if (planId !== cohort.planId) {
    return refused("unknown_plan", `plan ${planId.slice(0, 64)}, but the cohort learns by ${cohort.planId}`);
  }
  if (!cohort.championVersions.includes(globalVersion)) {
    return refused("unknown_base", `version ${globalVersion}; the champion is ${cohort.champion.version}`);
  }
  if (!Number.isInteger(devices) || devices < 1 || devices > MAX_DEVICES) {
    return refused("bad_devices", `${devices} devices; allowed are 1 to ${MAX_DEVICES}`);
  }
  if ((told.scales && !asksForScales(manifest)) || (told.ratios && askedQuantile(manifest) === null)) {
    return refused("not_asked", `the plan does not ask for ${told.scales ? "scales" : "score ratios"}`);
  }
  if (!told.scales && !told.ratios) return refused("nothing_told", "neither scales nor score ratios");
  const channels = manifest.channels.length;
  if (told.scales && scales.length !== channels) {
    return refused("bad_scales", `${scales.length} scales for ${channels} channels`);
  }
  const bad = scales.find((scale) => !(scale > 0 && Number.isFinite(scale)));
  if (bad !== undefined) return refused("bad_scales", `a scale of ${bad}; every scale must be finite and positive`);
  if (ratios.length > MAX_SKETCH_BYTES) {
    return refused("sketch_too_large", `a sketch of ${ratios.length} bytes; allowed are ${MAX_SKETCH_BYTES}`);
  }
  try {
    return {
      devices,
      scales: told.scales ? Float64Array.from(scales) : null,
      ratios: told.ratios ? QuantileSketch.deserialise(ratios) : null,
    };
  } catch (error) {
    if (!(error instanceof SketchBytesError)) throw error;
    return refused("undecodable_sketch", error.message);
  }
}

const refused = (reason: StatisticsRefusal["reason"], message: string): StatisticsRefusal => ({ reason, message });
