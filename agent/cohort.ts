// One cohort on this gateway: its devices, and the learner of its plan once there is one.
import type { CohortId, DeviceId } from "../learning/ids.ts";
import type { Reading } from "../learning/telemetry/default-mapping.ts";
import { isRefusal, type Refusal } from "../learning/telemetry/refusal.ts";
import { Device, type DeviceRecord } from "./core/device.ts";
import type { ModelKind } from "./core/episode.ts";
import type { Learner } from "./learner.ts";
import type { CohortHeld, CohortStatistics } from "./ports/coordinator-link.ts";

/** Device records are as large as their calibration rows: written this often they spare the SD card. */
const SAVE_INTERVAL_MS = 300_000;

export class Cohort {
  readonly cohort: CohortId;
  readonly devices = new Map<DeviceId, Device>();
  readonly #mayGrowForest: (deviceId: DeviceId) => boolean;
  #learner: Learner | null = null;
  #savedAtMs: number;

  /** `mayGrowForest` is asked once for every device. */
  constructor(cohort: CohortId, nowMs: number, mayGrowForest: (deviceId: DeviceId) => boolean) {
    this.cohort = cohort;
    this.#mayGrowForest = mayGrowForest;
    this.#savedAtMs = nowMs;
  }

  get learner(): Learner | null {
    return this.#learner;
  }

  /** Devices begin anew under the learner's plan. */
  learnBy(learner: Learner): void {
    this.#learner = learner;
    for (const device of this.devices.values()) {
      device.adoptPlan(learner.plan.manifest);
      device.monitor?.adoptFleet(learner.fleet);
    }
  }

  /** The devices of an earlier run, with its learner; `onDamaged` hears of records that don't fit. */
  restore(learner: Learner | null, records: readonly DeviceRecord[], onDamaged: (deviceId: DeviceId) => void): void {
    this.#learner = learner;
    for (const record of records) {
      try {
        const device = Device.restore(record, learner?.plan.manifest ?? null);
        if (learner !== null) device.monitor?.adoptFleet(learner.fleet);
        this.devices.set(record.deviceId, device);
        if (record.growsForest) this.#mayGrowForest(record.deviceId);
      } catch {
        onDamaged(record.deviceId);
      }
    }
  }

  /** The reading's device; a new one is not kept until one of its rows was good. */
  deviceOf(reading: Reading): Device | Refusal {
    const known = this.devices.get(reading.deviceId);
    if (known !== undefined) return known;
    const channels = this.#learner?.plan.manifest.channels;
    const device = channels === undefined ? Device.coldStart(reading) : new Device(reading.deviceId, channels);
    if (isRefusal(device)) return device;
    if (this.#learner !== null) {
      device.adoptPlan(this.#learner.plan.manifest);
      device.monitor?.adoptFleet(this.#learner.fleet);
    }
    return device;
  }

  keep(device: Device): void {
    if (this.devices.has(device.deviceId)) return;
    if (this.#mayGrowForest(device.deviceId)) device.growForest();
    this.devices.set(device.deviceId, device);
  }

  /** The champion, where it is a detector and the device has a threshold of its own; else the device's own. */
  detectorOf(device: Device): ModelKind {
    const calibrated = (device.monitor?.threshold ?? null) !== null;
    return this.#learner?.slot?.trained && calibrated ? "federated" : device.ownKind;
  }

  held(): CohortHeld {
    const { candidate = null, previous = null } = this.#learner?.spares ?? {};
    return {
      cohort: this.cohort,
      planId: this.#learner?.plan.planId ?? null,
      globalVersion: this.#learner?.slot?.globalVersion ?? 0,
      devices: [...this.devices.keys()],
      candidate: candidate && { globalVersion: candidate.globalVersion, trial: candidate.trial },
      previousVersion: previous?.globalVersion ?? null,
    };
  }

  get calibratedDevices(): number {
    let count = 0;
    for (const { monitor } of this.devices.values()) if ((monitor?.threshold ?? null) !== null) count++;
    return count;
  }

  /** What the cohort's gateways tell one another; null: nothing to tell. */
  statistics(): CohortStatistics | null {
    return this.#learner?.statistics() ?? null;
  }

  /** All devices' records if they were not saved lately, else none. */
  dueRecords(nowMs: number): DeviceRecord[] {
    if (nowMs - this.#savedAtMs < SAVE_INTERVAL_MS) return [];
    this.#savedAtMs = nowMs;
    return this.records();
  }

  records(): DeviceRecord[] {
    return Array.from(this.devices.values(), (device) => device.record());
  }
}
