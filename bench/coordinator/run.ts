// All of the benchmark's parts, one after the other, in a folder that is gone afterwards.
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { openFilesAllowed } from "../../cli/simulate/fleet.ts";
import { type FleetFigures, measureFleet } from "./fleet.ts";
import { InsertFloor } from "./floors.ts";
import { type Growth, measureGrowth } from "./growth.ts";
import { measureReplicas, type ReplicaFigures } from "./replicas.ts";
import { measureSessions, type SessionsFigures } from "./sessions.ts";
import type { BenchSizes } from "./sizes.ts";
import { measureThroughput, type ThroughputRow } from "./throughput.ts";

export interface BenchReport {
  readonly machine: {
    readonly cores: number;
    readonly model: string;
    readonly openFiles: number | null;
    /** Of the last minute before the run: above 0 the machine had other work. */
    readonly loadBefore: number;
  };
  readonly sizes: BenchSizes;
  readonly rows: readonly ThroughputRow[];
  /** Null: it could not be measured; `failures` says why. */
  readonly growth: Growth | null;
  readonly sessions: SessionsFigures | null;
  readonly fleet: FleetFigures | null;
  readonly replicas: ReplicaFigures | null;
  readonly failures: readonly string[];
  readonly seconds: number;
}

export async function runBench(sizes: BenchSizes, say: (what: string) => void): Promise<BenchReport> {
  const startedMs = performance.now();
  const [loadBefore = 0] = loadavg();
  const folder = await mkdtemp(join(tmpdir(), "flead-bench-"));
  await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
  const failures: string[] = [];
  const attempt = async <Figures>(what: string, measure: () => Promise<Figures>): Promise<Figures | null> => {
    say(what);
    return measure().catch((error: Error) => {
      failures.push(`${what}: ${error.message}`);
      return null;
    });
  };
  try {
    const inserts = await InsertFloor.open(join(folder, "floor"));
    const rows: ThroughputRow[] = [];
    for (const [size, encoding] of sizes.updates) {
      const row = await attempt(`${size} ${encoding}`, () => measureThroughput(folder, sizes, size, encoding, inserts));
      if (row !== null) rows.push(row);
    }
    await inserts.close();
    const growth = await attempt("memory over time", () => measureGrowth(folder, sizes));
    const sessions = await attempt("open sessions", () => measureSessions(folder, sizes));
    const fleet = await attempt("a fleet in the field", () => measureFleet(folder, sizes));
    const replicas = await attempt("one coordinator, then two", () => measureReplicas(folder, sizes));
    const processors = cpus();
    const machine = {
      cores: processors.length,
      model: processors[0]?.model ?? "unknown",
      openFiles: openFilesAllowed(),
      loadBefore,
    };
    const seconds = (performance.now() - startedMs) / 1000;
    return { machine, sizes, rows, growth, sessions, fleet, replicas, failures, seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
