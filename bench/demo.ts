// Start-up time, memory and pace of the demo's own processes on this machine: node dist/bench/demo.js [rounds]
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBroker } from "../cli/demo/broker.ts";
import { readLoop } from "../cli/demo/coordinator-client.ts";
import { createPumps } from "../cli/demo/fleet.ts";
import { publishPlant } from "../cli/demo/plant-publisher.ts";
import { COHORT, PLANT_START_MS, type Programs, startPrograms } from "../cli/demo/programs.ts";
import { pause } from "../runtime/retry.ts";
import { memoryOf } from "./process-figures.ts";

const SEED = 1;
const SPEED = 20;
const LOOK_EVERY_MS = 500;

/** Seconds that `rounds` rounds took from the first one's end on. */
async function roundsPassed(url: string, rounds: number): Promise<number> {
  let firstMs: number | null = null;
  while (true) {
    const closed = (await readLoop(url, COHORT)).rounds.length;
    if (closed > 0) firstMs ??= performance.now();
    if (firstMs !== null && closed >= rounds) return (performance.now() - firstMs) / 1000;
    await pause(LOOK_EVERY_MS);
  }
}

function print(rows: readonly (readonly [what: string, measured: string, target: string])[]): void {
  for (const [what, measured, target] of rows) console.log(what.padEnd(44), measured.padStart(16), target.padStart(14));
}

const rounds = Math.max(2, Number(process.argv[2] ?? 8));
const folder = await mkdtemp(join(tmpdir(), "flead-bench-"));
await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
const broker = await startBroker();
const stop = new AbortController();
let programs: Programs | null = null;
try {
  const startMs = performance.now();
  programs = await startPrograms(folder, broker.url, SEED);
  const { coordinator, agents, url, died } = programs;
  const startSeconds = (performance.now() - startMs) / 1000;

  const plant = publishPlant(broker.url, createPumps(SEED, PLANT_START_MS), SPEED, () => undefined, stop.signal);
  const seconds = await Promise.race([roundsPassed(url, rounds), died]);
  const [coordinatorMemory, ...agentMemories] = [coordinator, ...agents].map(({ pid }) => memoryOf(pid));
  stop.abort();
  await plant;

  const sorted = agentMemories.map((memory) => memory?.rssMb ?? Number.NaN).toSorted((a, b) => a - b);
  const mb = (value: number | undefined) => `${(value ?? Number.NaN).toFixed(0)} MB`;
  print([
    [`the demo after ${rounds} rounds`, "measured", "target"],
    [`coordinator and ${agents.length} agents ready`, `${startSeconds.toFixed(1)} s`, "≤ 10 s"],
    ["agent, resident, the largest", mb(sorted.at(-1)), "≤ 120 MB"],
    ["agent, resident, median", mb(sorted[sorted.length >> 1]), "≤ 120 MB"],
    [
      "agent, peak since its start, the largest",
      mb(Math.max(...agentMemories.map((memory) => memory?.peakMb ?? Number.NaN))),
      "",
    ],
    ["coordinator without its database, resident", mb(coordinatorMemory?.rssMb), "≤ 150 MB"],
    ["coordinator, peak since its start", mb(coordinatorMemory?.peakMb), ""],
    ["rounds a minute", `${(((rounds - 1) * 60) / seconds).toFixed(1)}`, ""],
  ]);
} finally {
  stop.abort();
  await programs?.stop();
  await broker.close();
  await rm(folder, { recursive: true, force: true });
}
