// The demo's coordinator and agents, each a process with a folder of its own under the demo's.
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import { GATEWAYS, gatewayName, siteName, writeHeldOutPumps } from "./fleet.ts";
import { type Program, startProgram } from "./processes.ts";

export const COHORT = "pumps";
/** The plant's clock is its own, so that the same seed gives the same bytes. */
export const PLANT_START_MS = Date.UTC(2026, 0, 1);

export interface Programs {
  readonly coordinator: Program;
  readonly agents: readonly Program[];
  /** Where the coordinator's page and REST API are. */
  readonly url: string;
  /** Rejects when any of them ends before it was stopped. */
  readonly died: Promise<never>;
  /** The agents first, so that what they still have to say is heard. */
  stop(): Promise<void>;
}

/** Resolves when all of them serve. Rejects with none left running when one cannot, or `stop` aborts first. */
export async function startPrograms(
  folder: string,
  brokerUrl: string,
  seed: number,
  stop?: AbortSignal,
): Promise<Programs> {
  const coordinator = await startCoordinator(folder, seed, stop);
  const starts = await Promise.allSettled(startAgents(folder, brokerUrl, coordinator.ready.grpc ?? "", stop));
  const agents = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const end = async () => {
    await Promise.all(agents.map((agent) => agent.stop()));
    await coordinator.stop();
  };
  const failed = starts.find((start) => start.status === "rejected");
  if (failed) {
    await end();
    throw failed.reason;
  }
  const died = Promise.race([coordinator, ...agents].map((program) => program.died));
  died.catch(() => undefined); // heard by whoever waits for it, if anybody does
  return { coordinator, agents, url: coordinator.ready.url ?? "", died, stop: end };
}

async function startCoordinator(folder: string, seed: number, stop?: AbortSignal): Promise<Program> {
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
  return startProgram("coordinator", ["coordinator"], variables, join(folder, "coordinator.log"), stop);
}

function startAgents(folder: string, brokerUrl: string, grpc: string, stop?: AbortSignal): Promise<Program>[] {
  return Array.from({ length: GATEWAYS }, (_, index) => {
    const name = gatewayName(index);
    const variables = {
      FLEAD_GATEWAY_ID: name,
      FLEAD_SITE: siteName(index),
      FLEAD_MQTT_URL: brokerUrl,
      FLEAD_COORDINATOR: grpc.replace("127.0.0.1", "localhost"),
      FLEAD_DATA_DIR: join(folder, name),
      FLEAD_COHORTS: `${COHORT}=pump-*`,
      FLEAD_AGENT_HTTP: "off", // all are on one machine
    };
    return startProgram(name, ["agent"], variables, join(folder, `${name}.log`), stop);
  });
}
