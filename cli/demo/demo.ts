// The demo's main path: broker, coordinator, agents, plant; then watch until the rounds are done or somebody stops it.
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause } from "../../runtime/retry.ts";
import { aborted, shutdownSignal } from "../../runtime/shutdown.ts";
import { UsageError } from "../usage.ts";
import { type AlertListener, listenForAlerts } from "./alerts.ts";
import { startBroker } from "./broker.ts";
import type { DemoOptions } from "./command.ts";
import { type LoopState, readLoop } from "./coordinator-client.ts";
import { createPumps } from "./fleet.ts";
import { publishPlant } from "./plant-publisher.ts";
import { COHORT, PLANT_START_MS, type Programs, startPrograms } from "./programs.ts";
import { makeReport, summaryText } from "./report.ts";
import { createView, type View } from "./view.ts";

const LOOK_EVERY_MS = 1_000;
/** The coordinator may be slow for a moment; longer than this many looks it is not looking well. */
const LOOKS_FORGIVEN = 10;
/** Gateways report every ten seconds; somebody who pressed Ctrl-C does not wait for that. */
const SETTLE_MS = 15_000;
const SETTLE_WHEN_STOPPED_MS = 2_000;

export async function runDemo(options: DemoOptions): Promise<void> {
  const { json } = options;
  if (json !== undefined) {
    await writeFile(json, "").catch((cause) => {
      throw new UsageError(`--json: ${json} cannot be written`, { cause });
    });
  }
  const stop = shutdownSignal();
  const folder = await mkdtemp(join(tmpdir(), "flead-demo-"));
  await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
  const broker = await startBroker();
  try {
    process.stdout.write("Starting a coordinator and 6 gateway agents …\n");
    const startedMs = performance.now();
    const programs = await startPrograms(folder, broker.url, options.seed, stop);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stdout.write(`Started in ${seconds} s. The page is ${programs.url}, logs are in ${folder}\n`);
    try {
      await runPlant(options, broker.url, programs, stop);
    } finally {
      await programs.stop();
    }
  } catch (error) {
    if (stop.aborted) return rm(folder, { recursive: true, force: true });
    throw error; // its logs stay
  } finally {
    await broker.close();
  }
  await rm(folder, { recursive: true, force: true });
}

async function runPlant(options: DemoOptions, brokerUrl: string, programs: Programs, stop: AbortSignal): Promise<void> {
  const { rounds, json, seed, speed } = options;
  const { url, died } = programs;
  const plantStop = new AbortController();
  const view = createView(process.stdout, url);
  const alerts = await listenForAlerts(brokerUrl, view.alert);
  const pumps = createPumps(seed, PLANT_START_MS);
  const plant = publishPlant(brokerUrl, pumps, speed, alerts.published, plantStop.signal);
  try {
    const plantFails = plant.then(() => aborted(stop));
    await Promise.race([watch(url, view, alerts, rounds, stop), plantFails, died]);
    plantStop.abort();
    await plant;
    const loop = await settled(url, stop.aborted ? SETTLE_WHEN_STOPPED_MS : SETTLE_MS);
    const report = makeReport(seed, { ...loop, rounds: loop.rounds.slice(0, rounds) }, alerts.counts);
    process.stdout.write(`\n${summaryText(report)}`);
    if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  } finally {
    plantStop.abort();
    await alerts.close();
  }
}

/** Until `rounds` rounds are closed, or somebody stops the demo. */
async function watch(
  url: string,
  view: View,
  alerts: AlertListener,
  rounds: number | undefined,
  stop: AbortSignal,
): Promise<void> {
  let failedLooks = 0;
  while (!stop.aborted) {
    try {
      const loop = await readLoop(url, COHORT);
      view.draw(loop, alerts);
      if (rounds !== undefined && loop.rounds.length >= rounds) return;
      failedLooks = 0;
    } catch (error) {
      if (++failedLooks > LOOKS_FORGIVEN) throw error;
    }
    await pause(LOOK_EVERY_MS, stop);
  }
}

/** With the plant silent, until every update that was trained has been answered, or `limitMs` have passed. */
async function settled(url: string, limitMs: number): Promise<LoopState> {
  const deadlineMs = performance.now() + limitMs;
  let loop = await readLoop(url, COHORT);
  let before = -1;
  while (performance.now() < deadlineMs) {
    const { acknowledged, refused } = loop.updates;
    if (loop.updatesTrained === before && loop.updatesTrained === acknowledged + refused) break;
    before = loop.updatesTrained;
    await pause(LOOK_EVERY_MS);
    loop = await readLoop(url, COHORT);
  }
  return loop;
}
