// What a coordinator's memory does under a load that lasts.
import { join } from "node:path";
import { pause } from "../../runtime/retry.ts";
import { LONG_ROUNDS } from "./cohorts.ts";
import { COHORT, stretch, withFleet } from "./fleets.ts";
import type { BenchSizes } from "./sizes.ts";

const SAMPLE_MS = 1_000;

export interface Growth {
  readonly seconds: number;
  readonly updates: number;
  readonly updatesPerSecond: number;
  /** Medians of the first and the last third of the run. */
  readonly firstMb: number | null;
  readonly lastMb: number | null;
}

export async function measureGrowth(folder: string, sizes: BenchSizes): Promise<Growth> {
  const { gateways, steadyRate, warmMs, memoryMs } = sizes;
  const made = { cohort: COHORT, size: "small", encoding: "int8", federation: LONG_ROUNDS } as const;
  return withFleet(join(folder, "growth"), [made], { gateways }, async (coordinator, fleet) => {
    await fleet.fleet.load({ updatesPerSecond: steadyRate });
    await pause(warmMs);
    const samples: (number | null)[] = [];
    const sampling = setInterval(() => samples.push(coordinator.memory?.rssMb ?? null), SAMPLE_MS);
    const { seconds, updates, updatesPerSecond } = await stretch(coordinator, fleet, memoryMs);
    clearInterval(sampling);
    const third = Math.ceil(samples.length / 3);
    const [first, last] = [samples.slice(0, third), samples.slice(-third)];
    return { seconds, updates, updatesPerSecond, firstMb: median(first), lastMb: median(last) };
  });
}

/** Null for none, and where one of them is. */
export function median(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  return known.length === values.length ? (known[known.length >> 1] ?? null) : null;
}
