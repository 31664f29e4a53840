// The demo's main path: broker, coordinator, agents, plant; then watch until the rounds are done or somebody stops it.
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import { pause } from "../../runtime/retry.ts";
import { aborted, shutdownSignal } from "../../runtime/shutdown.ts";
import { type AlertListener, listenForAlerts } from "./alerts.ts";
import { startBroker } from "./broker.ts";
import type { DemoOptions } from "./command.ts";
import { type LoopState, readLoop } from "./coordinator-client.ts";
import { createPumps, GATEWAYS, gatewayName, siteName, writeHeldOutPumps } from "./fleet.ts";
import { publishPlant } from "./plant-publisher.ts";
import { type Program, startProgram } from "./processes.ts";
import { makeReport, summaryText } from "./report.ts";
import { createView, type View } from "./view.ts";

const COHORT = "pumps";
/** The plant's clock is its own, so that the same seed gives the same bytes. */
const PLANT_START_MS = Date.UTC(2026, 0, 1);
const LOOK_EVERY_MS = 1_000;
const SETTLE_TIMEOUT_MS = 15_000;

export async function runDemo({ rounds, json, seed, speed }: DemoOptions): Promise<void> {
  const stop = shutdownSignal();
  const folder = await mkdtemp(join(tmpdir(), "flead-demo-"));
  await chmod(folder, 0o711); // run by root, the database server is another user and has to pass through
  const broker = await startBroker();
  const programs: Program[] = [];
  const plantStop = new AbortController();
  let alerts: AlertListener | null = null;
  try {
    process.stdout.write("Starting a coordinator and 6 gateway agents …\n");
    const startedMs = performance.now();
    const coordinator = await startCoordinator(folder, seed);
    programs.push(coordinator, ...(await startAgents(folder, broker.url, coordinator.ready.grpc ?? "")));
    const url = coordinator.ready.url ?? "";
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stdout.write(`Started in ${seconds} s. The page is ${url}, logs are in ${folder}\n`);

    const view = createView(process.stdout, url);
    alerts = await listenForAlerts(broker.url, view.alert);
    const plant = publishPlant(
      broker.url,
      createPumps(seed, PLANT_START_MS),
      speed,
      alerts.published,
      plantStop.signal,
    );
    const trouble = Promise.race([plant.then(() => aborted(stop)), ...programs.map(({ died }) => died)]);
    await Promise.race([watch(url, view, alerts, rounds, stop), trouble]);
    plantStop.abort();
    await plant;
    const report = makeReport(seed, await settled(url, rounds), alerts.counts);
    process.stdout.write(`\n${summaryText(report)}`);
    if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  } finally {
    plantStop.abort();
    await alerts?.close();
    await Promise.all(programs.slice(1).map((program) => program.stop()));
    await programs[0]?.stop();
    await broker.close();
    if (process.exitCode === undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function startCoordinator(folder: string, seed: number): Promise<Program> {
  const heldOut = join(folder, "held-out");
  await writeHeldOutPumps(heldOut, seed, PLANT_START_MS);
  const variables = {
    FLEAD_PLANS: join(packageRoot, "plans/pumps.yaml"),
    FLEAD_HELD_OUT: heldOut,
    FLEAD_DATA_DIR: join(folder, "coordinator"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    DATABASE_URL: "",
  };
  return startProgram("coordinator", ["coordinator"], variables, join(folder, "coordinator.log"));
}

function startAgents(folder: string, brokerUrl: string, grpc: string): Promise<Program[]> {
  return Promise.all(
    Array.from({ length: GATEWAYS }, (_, index) => {
      const name = gatewayName(index);
      const variables = {
        FLEAD_GATEWAY_ID: name,
        FLEAD_SITE: siteName(index),
        FLEAD_MQTT_URL: brokerUrl,
        FLEAD_COORDINATOR: grpc.replace("127.0.0.1", "localhost"),
        FLEAD_DATA_DIR: join(folder, name),
        FLEAD_COHORTS: `${COHORT}=pump-*`,
      };
      return startProgram(name, ["agent"], variables, join(folder, `${name}.log`));
    }),
  );
}

/** Until `rounds` rounds are closed, or somebody stops the demo. */
async function watch(
  url: string,
  view: View,
  alerts: AlertListener,
  rounds: number | undefined,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    const loop = await readLoop(url, COHORT);
    view.draw(loop, alerts);
    if (rounds !== undefined && loop.rounds.length >= rounds) return;
    await pause(LOOK_EVERY_MS, stop);
  }
}

/** With the plant silent, until every update that was trained has been answered. */
async function settled(url: string, rounds: number | undefined): Promise<LoopState> {
  const deadlineMs = performance.now() + SETTLE_TIMEOUT_MS;
  let loop = await readLoop(url, COHORT);
  let before = -1;
  while (performance.now() < deadlineMs) {
    const { acknowledged, refused } = loop.updates;
    if (loop.updatesTrained === before && loop.updatesTrained === acknowledged + refused) break;
    before = loop.updatesTrained;
    await pause(LOOK_EVERY_MS);
    loop = await readLoop(url, COHORT);
  }
  return rounds === undefined ? loop : { ...loop, rounds: loop.rounds.slice(0, rounds) };
}
