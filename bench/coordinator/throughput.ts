// Updates as fast as they are acknowledged, one row a size and encoding, beside the floors of the same bytes.
import { join } from "node:path";
import { oneAfterTheOther, perUpdate } from "../../cli/simulate/readings.ts";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import { encodeDelta } from "../../learning/codecs/codec.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { pause } from "../../runtime/retry.ts";
import type { Memory } from "../process-figures.ts";
import { type Encoding, LONG_ROUNDS, type Size } from "./cohorts.ts";
import { type BenchFleet, booksAgree, COHORT, type Stretch, stretch, withFleet } from "./fleets.ts";
import { echoFloor, type Floor, type InsertFloor } from "./floors.ts";
import type { BenchCoordinator } from "./programs.ts";
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
  /** What the fleet was told is stored is what the database holds; null: not all was answered. */
  readonly booksAgree: boolean | null;
}

export async function measureThroughput(
  folder: string,
  sizes: BenchSizes,
  size: Size,
  encoding: Encoding,
  inserts: InsertFloor,
): Promise<ThroughputRow> {
  const home = join(folder, `${size}-${encoding}`);
  const made = { cohort: COHORT, size, encoding, federation: LONG_ROUNDS };
  const measured = await withFleet(home, [made], { gateways: sizes.gateways }, (coordinator, fleet) =>
    fullLoad(coordinator, fleet, size, encoding, sizes),
  );
  const delta = await exampleDelta(join(home, `${COHORT}.yaml`));
  const echo = await echoFloor(delta, sizes.gateways, sizes.floorMs, sizes.floorMs);
  const insert = await inserts.measure(delta, encoding, sizes.floorMs / 2, sizes.floorMs);
  return { ...measured, echo, insert };
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

/** Of the plan in `file`: what a training that moved every weight a little sends. */
async function exampleDelta(file: string): Promise<Uint8Array> {
  const { manifest, initialWeights } = compilePlan((await readCohortFile(file)).plan);
  const moved = initialWeights.map((weight) => 1e-3 * weight + 1e-4);
  return encodeDelta(manifest.training.codec, moved, manifest.weights, new Float32Array(moved.length)).bytes;
}
