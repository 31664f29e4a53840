// Updates as fast as they are acknowledged, one row a size and encoding, beside the floors of the same bytes; and what
// memory does under a load that lasts.
import { join } from "node:path";
import { oneAfterTheOther, perUpdate } from "../../cli/simulate/readings.ts";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import { encodeDelta } from "../../learning/codecs/codec.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { pause } from "../../runtime/retry.ts";
import type { Memory } from "../process-figures.ts";
import { type Encoding, LONG_ROUNDS, type Size } from "./cohorts.ts";
import { BenchFleet, booksAgree, COHORT, type Stretch, stretch } from "./fleets.ts";
import { echoFloor, type Floor, type InsertFloor } from "./floors.ts";
import { BenchCoordinator } from "./programs.ts";
import type { BenchSizes } from "./sizes.ts";

export interface ThroughputRow extends Omit<Stretch, "reading" | "cpu"> {
  readonly size: Size;
  readonly encoding: Encoding;
  readonly parameters: number;
  readonly deltaBytes: number;
  readonly sessions: number;
  /** An update, of the load generator's sockets, from the start of the load to the last answer. */
  readonly bytesSent: number | null;
  readonly bytesReceived: number | null;
  readonly memory: Memory | null;
  readonly rounds: number;
  readonly echo: Floor;
  readonly insert: Floor;
  /** What the fleet was told is stored is what the database holds. */
  readonly booksAgree: boolean;
}

const SAMPLE_MS = 1_000;

export interface Growth {
  readonly seconds: number;
  readonly updates: number;
  readonly updatesPerSecond: number;
  /** Medians of the first and the last third of the run. */
  readonly firstMb: number | null;
  readonly lastMb: number | null;
}

export interface Throughput {
  readonly rows: readonly ThroughputRow[];
  readonly growth: Growth;
}

export async function measureThroughput(
  folder: string,
  sizes: BenchSizes,
  inserts: InsertFloor,
  say: (what: string) => void,
): Promise<Throughput> {
  const rows: ThroughputRow[] = [];
  let growth: Growth | null = null;
  for (const [size, encoding] of sizes.updates) {
    say(`${size} ${encoding}`);
    const home = join(folder, `${size}-${encoding}`);
    const coordinator = await BenchCoordinator.start(home, [
      { cohort: COHORT, size, encoding, federation: LONG_ROUNDS },
    ]);
    let measured: Omit<ThroughputRow, "echo" | "insert">;
    try {
      const fleet = await BenchFleet.connect({ gateways: sizes.gateways, coordinators: [coordinator.address] });
      try {
        measured = await fullLoad(coordinator, fleet, size, encoding, sizes);
        growth ??= await growthUnder(coordinator, fleet, sizes, say);
      } finally {
        await fleet.close();
      }
    } finally {
      await coordinator.stop();
    }
    const delta = await exampleDelta(join(home, `${COHORT}.yaml`));
    const echo = await echoFloor(delta, sizes.gateways, sizes.floorMs, sizes.floorMs);
    const insert = await inserts.measure(delta, encoding, sizes.floorMs / 2, sizes.floorMs);
    rows.push({ ...measured, echo, insert });
  }
  if (growth === null) throw new Error("there was no row to measure");
  return { rows, growth };
}

async function fullLoad(
  coordinator: BenchCoordinator,
  fleet: BenchFleet,
  size: Size,
  encoding: Encoding,
  sizes: BenchSizes,
): Promise<Omit<ThroughputRow, "echo" | "insert">> {
  await fleet.fleet.load("max");
  await pause(sizes.warmMs);
  const warm = await fleet.read();
  const { reading, cpu: _, ...measured } = await stretch(coordinator, fleet, sizes.measureMs);
  const { memory } = coordinator;
  const loaded = [reading, await fleet.settle()].reduce(oneAfterTheOther, warm);
  const { rounds } = await coordinator.ask<{ rounds: string }>("SELECT count(*) AS rounds FROM rounds");
  return {
    ...measured,
    size,
    encoding,
    parameters: reading.plan?.parameters ?? 0,
    deltaBytes: reading.plan?.updateBytes ?? 0,
    sessions: reading.sessionsOpen,
    bytesSent: perUpdate(loaded, "bytesSent"),
    bytesReceived: perUpdate(loaded, "bytesReceived"),
    memory,
    rounds: Number(rounds),
    booksAgree: await booksAgree(coordinator, [fleet]),
  };
}

async function growthUnder(
  coordinator: BenchCoordinator,
  fleet: BenchFleet,
  { memoryMs, steadyRate }: BenchSizes,
  say: (what: string) => void,
): Promise<Growth> {
  say(`memory under ${steadyRate} updates a second`);
  await fleet.fleet.load({ updatesPerSecond: steadyRate });
  const samples: (number | null)[] = [];
  const sampling = setInterval(() => samples.push(coordinator.memory?.rssMb ?? null), SAMPLE_MS);
  const { seconds, updates, updatesPerSecond } = await stretch(coordinator, fleet, memoryMs);
  clearInterval(sampling);
  const third = Math.ceil(samples.length / 3);
  return {
    seconds,
    updates,
    updatesPerSecond,
    firstMb: median(samples.slice(0, third)),
    lastMb: median(samples.slice(-third)),
  };
}

/** Null for none, and where one of them is. */
export function median(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  return known.length === values.length ? (known[known.length >> 1] ?? null) : null;
}

/** Of the plan in `file`: what a training that moved every weight a little sends. */
async function exampleDelta(file: string): Promise<Uint8Array> {
  const { manifest, initialWeights } = compilePlan((await readCohortFile(file)).plan);
  const moved = initialWeights.map((weight) => 1e-3 * weight + 1e-4);
  return encodeDelta(manifest.training.codec, moved, manifest.weights, new Float32Array(moved.length)).bytes;
}
