// How large and how long the benchmark's parts are.
import type { Encoding, Size } from "./cohorts.ts";

export interface BenchSizes {
  /** Sessions under full load. */
  readonly gateways: number;
  readonly updates: readonly (readonly [Size, Encoding])[];
  /** Numbers of open sessions, ascending: the first of them send, the others idle. */
  readonly sessions: readonly number[];
  /** Gateways at one update a minute. */
  readonly fleet: number;
  readonly bursts: number;
  /** Between the start of a load and what is measured of it. */
  readonly warmMs: number;
  readonly measureMs: number;
  readonly floorMs: number;
  readonly idleMs: number;
  readonly fleetMs: number;
  readonly memoryMs: number;
  /** Of the steady loads, in updates a second. */
  readonly steadyRate: number;
}

export const FULL: BenchSizes = {
  gateways: 1000,
  updates: [
    ["small", "int8"],
    ["small", "float16"],
    ["small", "float32"],
    ["large", "int8"],
    ["large", "float16"],
    ["large", "float32"],
  ],
  sessions: [100, 1000, 5000],
  fleet: 2407,
  bursts: 5,
  warmMs: 3_000,
  measureMs: 8_000,
  floorMs: 3_000,
  idleMs: 5_000,
  fleetMs: 30_000,
  memoryMs: 40_000,
  steadyRate: 200,
};

export const QUICK: BenchSizes = {
  ...FULL,
  gateways: 200,
  updates: [
    ["small", "int8"],
    ["large", "int8"],
    ["large", "float32"],
  ],
  sessions: [50, 500],
  fleet: 500,
  bursts: 3,
  warmMs: 1_500,
  measureMs: 3_000,
  floorMs: 800,
  idleMs: 1_500,
  fleetMs: 8_000,
  memoryMs: 8_000,
};
