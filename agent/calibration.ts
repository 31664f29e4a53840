// The thresholds of a cohort's devices under the model that scores, and what they say together for the fleet.
import { poolDevices } from "../learning/fleet.ts";
import { UnusableModelError } from "./check-model.ts";
import type { Device } from "./core/device.ts";
import type { CohortStatistics } from "./ports/coordinator-link.ts";
import { calibrationScores, type Scorer } from "./try-candidate.ts";

export interface CalibrationDeps {
  readonly scorer: Scorer;
  readonly devices: () => Iterable<Device>;
  /** For what is drawn when scores are summed up. */
  readonly seed: number;
}

type Champion = Pick<CohortStatistics, "cohort" | "planId" | "globalVersion">;

/** Scores of devices' calibration rows, under one model. */
export type Calibrated = readonly [Device, Float32Array][];

export class Calibration {
  readonly #deps: CalibrationDeps;
  /** Of the last calibration; undefined: nobody has asked since. */
  #statistics: CohortStatistics | null | undefined;

  constructor(deps: CalibrationDeps) {
    this.#deps = deps;
  }

  /** Changes nothing. Throws UnusableModelError when a score is not finite. */
  async scores(weights: Float32Array, devices = this.#deps.devices()): Promise<Calibrated> {
    const scored = await calibrationScores(this.#deps.scorer, devices, weights);
    const usable = scored.every(([, scores]) => scores.every(Number.isFinite));
    if (!usable) throw new UnusableModelError("its scores are not finite");
    return scored;
  }

  /** The devices' thresholds are those of these scores. */
  adopt(scored: Calibrated): void {
    for (const [device, scores] of scored) device.monitor?.calibrate(scores);
    this.#statistics = undefined;
  }

  /** What the calibrated devices say together under the champion; the same object until they are calibrated anew. */
  statistics(champion: Champion): CohortStatistics | null {
    if (this.#statistics === undefined) this.#statistics = this.#pooled(champion);
    return this.#statistics;
  }

  #pooled(champion: Champion): CohortStatistics | null {
    const { devices, scorer, seed } = this.#deps;
    const calibrated = Array.from(devices(), ({ monitor }) => monitor?.statistics() ?? null);
    const told = calibrated.filter((statistics) => statistics !== null);
    const pooled = poolDevices(scorer.manifest, told, seed);
    return pooled && { ...pooled, ...champion };
  }
}
