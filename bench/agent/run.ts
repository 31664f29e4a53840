// All of the benchmark's parts, one after the other, in a folder that is gone afterwards.
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { timeAlerts } from "./alerts.ts";
import { startMosquitto } from "./broker.ts";
import { type FloodRow, flood } from "./flood.ts";
import { Load } from "./load.ts";
import { measureMemory } from "./memory.ts";
import { installNodeRed, startNodeRed } from "./node-red.ts";
import type { BenchReport } from "./report.ts";
import type { BenchSizes } from "./sizes.ts";
import { agentSubject, bareSubject, type Subject } from "./subjects.ts";

export async function runBench(
  sizes: BenchSizes,
  withNodeRed: boolean,
  say: (what: string) => void,
): Promise<BenchReport> {
  const [loadBefore = 0] = loadavg();
  const folder = await mkdtemp(join(tmpdir(), "flead-bench-agent-"));
  const failures: string[] = [];
  const attempt = async <Figures>(what: string, measure: () => Promise<Figures>): Promise<Figures | null> => {
    say(what);
    return measure().catch((error: Error) => {
      failures.push(`${what}: ${error.message}`);
      return null;
    });
  };
  const broker = await startMosquitto(folder);
  const load = await Load.start(broker.url);
  try {
    const rows: FloodRow[] = [];
    const subjects: [string, () => Promise<Subject>][] = [
      ["the agent under a model", () => agentSubject(join(folder, "model"), broker.url, true)],
      ["the agent without a model", () => agentSubject(join(folder, "cold"), broker.url, false)],
      ["a bare subscriber", () => bareSubject(broker.url)],
    ];
    const nodeRed = join(folder, "node-red");
    if (withNodeRed && (await attempt("Node-RED is installed", () => installNodeRed(nodeRed))) !== null) {
      subjects.push(["Node-RED", () => startNodeRed(nodeRed, broker.url)]);
    }
    for (const [what, start] of subjects) {
      const row = await attempt(what, async () => flood(await start(), broker, load, sizes));
      if (row !== null) rows.push(row);
    }
    const alerts = await attempt("alerts", () => timeAlerts(join(folder, "alerts"), broker, load, sizes));
    const memory = await attempt("memory", () => measureMemory(join(folder, "memory"), broker, load, sizes));
    const processors = cpus();
    const machine = { cores: processors.length, model: processors[0]?.model ?? "unknown", loadBefore };
    return { machine, flood: rows, alerts, memory, failures };
  } finally {
    load.close();
    await broker.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
