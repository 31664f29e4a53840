// All of the benchmark's parts, one after the other, in a folder that is gone afterwards.
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { openFilesAllowed } from "../../cli/simulate/fleet.ts";
import { type FleetFigures, measureFleet } from "./fleet.ts";
import { InsertFloor } from "./floors.ts";
import { measureReplicas, type ReplicaFigures } from "./replicas.ts";
import { measureSessions, type SessionsFigures } from "./sessions.ts";
import type { BenchSizes } from "./sizes.ts";
import { measureThroughput, type Throughput } from "./throughput.ts";

export interface BenchReport extends Throughput {
  readonly machine: {
    readonly cores: number;
    readonly model: string;
    readonly openFiles: number | null;
    /** Of the last minute before the run: above 0 the machine had other work. */
    readonly loadBefore: number;
  };
  readonly sizes: BenchSizes;
  readonly sessions: SessionsFigures;
  readonly fleet: FleetFigures;
  readonly replicas: ReplicaFigures;
  readonly seconds: number;
}

export async function runBench(sizes: BenchSizes, say: (what: string) => void): Promise<BenchReport> {
  const startedMs = performance.now();
  const [loadBefore = 0] = loadavg();
  const folder = await mkdtemp(join(tmpdir(), "flead-bench-"));
  await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
  try {
    const inserts = await InsertFloor.open(join(folder, "floor"));
    let throughput: Throughput;
    try {
      throughput = await measureThroughput(folder, sizes, inserts, say);
    } finally {
      await inserts.close();
    }
    const sessions = await measureSessions(folder, sizes, say);
    const fleet = await measureFleet(folder, sizes, say);
    const replicas = await measureReplicas(folder, sizes, say);
    const processors = cpus();
    const machine = {
      cores: processors.length,
      model: processors[0]?.model ?? "unknown",
      openFiles: openFilesAllowed(),
      loadBefore,
    };
    const seconds = (performance.now() - startedMs) / 1000;
    return { machine, sizes, ...throughput, sessions, fleet, replicas, seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
