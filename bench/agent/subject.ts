// The agent under test: a process of its own on one core, with a model from its first start on.
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { type Program, startProgram } from "../../cli/demo/processes.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId } from "../../learning/ids.ts";
import { presets } from "../../learning/presets.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { freePort } from "./broker.ts";
import { CHANNELS, SITE } from "./readings.ts";

const COHORT = cohortId("default");
export const GATEWAY = "bench-gateway";
const PLAN = { ...presets.machines, channels: CHANNELS.map((name) => ({ name, unit: "" })) };
/** Until a device's threshold is calibrated, and some more. */
export const CALIBRATING_ROWS = PLAN.commissioningRows + 20;

export interface AgentUnderTest {
  readonly pid: number;
  /** A figure of its /metrics; null: there is none of that name. */
  figure(name: string): Promise<number | null>;
  stop(): Promise<void>;
}

/** `withModel` false: no plan, so that devices are served by their own detectors. Nobody answers for its coordinator. */
export async function startAgentUnderTest(folder: string, broker: string, withModel: boolean): Promise<AgentUnderTest> {
  await mkdir(folder, { recursive: true });
  if (withModel) seedModel(join(folder, "agent.sqlite"));
  const port = await freePort();
  const variables = {
    FLEAD_GATEWAY_ID: GATEWAY,
    FLEAD_SITE: SITE,
    FLEAD_MQTT_URL: broker,
    FLEAD_COORDINATOR: `127.0.0.1:${await freePort()}`,
    FLEAD_DATA_DIR: folder,
    FLEAD_AGENT_HTTP: `127.0.0.1:${port}`,
    FLEAD_LOG_LEVEL: "warn",
  };
  const program: Program = await startProgram("agent", ["agent"], variables, join(folder, "agent.log"));
  return {
    pid: program.pid,
    figure: async (name) => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      const found = new RegExp(`^flead_agent_${name} (\\S+)$`, "m").exec(text)?.[1];
      return found === undefined ? null : Number(found);
    },
    stop: () => program.stop(),
  };
}

/** The plan's initial weights as a champion: what a row costs does not depend on what they are. */
function seedModel(file: string): void {
  const { planId, bytes } = encodeBundle(compilePlan(PLAN));
  const plan = { bytes, ...decodeBundle(bytes, planId) };
  const store = new SqliteStore(file, { nowMs: Date.now() });
  const { initialWeights: base } = plan;
  store.learning.startPlan(COHORT, plan);
  store.learning.saveSlot(COHORT, {
    globalVersion: 1,
    trained: true,
    fleet: noFleet,
    base,
    local: base,
    tuning: null,
    localSteps: 0,
    residual: new Float32Array(base.length),
    trainWhenInvited: false,
    answeredRound: null,
  });
  store.close();
}

/** Keeps the process on these cores; false where the machine can't. */
export async function pin(pid: number, cores: string): Promise<boolean> {
  return promisify(execFile)("taskset", ["-a", "-c", "-p", cores, String(pid)]).then(
    () => true,
    () => false,
  );
}
