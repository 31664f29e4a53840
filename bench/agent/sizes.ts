// How large and how long the benchmark's parts are.

export interface BenchSizes {
  /** Devices of the flood, each of which can say 200 readings a second; calibrated before they are measured. */
  readonly devices: number;
  readonly floodMs: number;
  /** Devices of the steady load during which alerts are timed; of these `raised` misbehave. */
  readonly alertDevices: number;
  readonly raised: number;
  readonly steadyPerSecond: number;
  /** Devices of the memory figure. */
  readonly manyDevices: number;
  readonly idleMs: number;
}

export const FULL: BenchSizes = {
  devices: 200,
  floodMs: 10_000,
  alertDevices: 2_000,
  raised: 150,
  steadyPerSecond: 5_000,
  manyDevices: 2_000,
  idleMs: 10_000,
};

export const QUICK: BenchSizes = {
  ...FULL,
  floodMs: 4_000,
  alertDevices: 500,
  raised: 40,
  manyDevices: 300,
  idleMs: 4_000,
};
