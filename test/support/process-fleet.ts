// A fleet of real processes that a test may kill at any moment: broker, coordinator with its PostgreSQL, two gateways.
import { type ChildProcess, fork } from "node:child_process";
import { existsSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { startBroker } from "../../cli/demo/broker.ts";
import { createPump, type Pump, type PumpRow } from "../../cli/demo/plant.ts";
import { publishPlant } from "../../cli/demo/plant-publisher.ts";
import type { Ready } from "../../cli/demo/processes.ts";
import type { CohortSettings } from "../../learning/plan.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { debianProgram } from "./debian-program.ts";
import { eventually } from "./eventually.ts";
import { freePort, startMosquitto } from "./mosquitto.ts";

const STOP_TIMEOUT_MS = 10_000;

/** One life of a `flead` program: unlike the demo's, it can end before it serves. */
export class Life {
  /** Rejects when the process ends before it serves. */
  readonly ready: Promise<Ready>;
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;

  constructor(command: string, variables: Readonly<Record<string, string>>, logFile: string) {
    const log = openSync(logFile, "a");
    this.#child = fork(join(packageRoot, "dist/cli/flead.js"), [command], {
      env: { ...process.env, ...variables },
      execArgv: [],
      stdio: ["ignore", log, log, "ipc"],
    });
    this.ended = new Promise((resolve) => this.#child.once("exit", () => resolve()));
    this.ready = new Promise((resolve, reject) => {
      const tooSoon = () =>
        reject(new Error(`${command} ended before it served:\n${readFileSync(logFile, "utf8").slice(-2_000)}`));
      this.#child.once("exit", tooSoon);
      this.#child.on("message", ({ ready }: { ready: Ready }) => {
        this.#child.off("exit", tooSoon);
        resolve(ready);
      });
    });
    this.ready.catch(() => undefined);
  }

  /** False when the process had ended by itself. */
  kill(): boolean {
    return this.#child.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    const ended = this.ended.then(() => true);
    if (await Promise.race([ended, pause(STOP_TIMEOUT_MS, false)])) return;
    throw new Error(`the process still runs ${STOP_TIMEOUT_MS} ms after it was asked to stop`);
  }
}

export const GATEWAYS = ["gw-1", "gw-2"] as const;
const PLANT_START_MS = Date.UTC(2026, 0, 1);
/** Plant seconds a second: rows come as fast as the plant can publish them. */
const PLANT_SPEED = 200;
export const STRETCH_ROWS = 200;

export class ProcessFleet {
  readonly folder: string;
  readonly dataDir: string;
  readonly #cohort: string;
  readonly #brokerUrl: string;
  readonly #closeBroker: () => Promise<void>;
  readonly #ports: { readonly grpc: number; readonly http: number };
  readonly #lives = new Set<Life>();
  readonly #pumps: readonly { device: string; site: string; pump: Pump }[];

  /** Coordinator and agents are not started. */
  static async open(folder: string, settings: CohortSettings): Promise<ProcessFleet> {
    writeFileSync(join(folder, "plan.yaml"), JSON.stringify(settings)); // JSON is YAML
    const mosquitto = debianProgram("mosquitto");
    const broker = await (mosquitto === null ? startBroker() : startMosquitto(mosquitto, folder));
    const close = "stop" in broker ? broker.stop : broker.close;
    return new ProcessFleet(folder, settings.cohort, broker.url, close, {
      grpc: await freePort(),
      http: await freePort(),
    });
  }

  private constructor(
    folder: string,
    cohort: string,
    brokerUrl: string,
    closeBroker: () => Promise<void>,
    ports: { readonly grpc: number; readonly http: number },
  ) {
    this.folder = folder;
    this.dataDir = join(folder, "coordinator");
    this.#cohort = cohort;
    this.#brokerUrl = brokerUrl;
    this.#closeBroker = closeBroker;
    this.#ports = ports;
    this.#pumps = GATEWAYS.flatMap((gateway, index) =>
      [1, 2].map((nth) => ({
        device: `pump-${gateway}-${nth}`,
        site: `site-${gateway}`,
        pump: steadyPump(2 * index + nth),
      })),
    );
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports.http}`;
  }

  agentFile(gateway: string): string {
    return join(this.folder, gateway, "agent.sqlite");
  }

  startCoordinator(): Life {
    return this.#begin("coordinator", "coordinator", {
      FLEAD_PLANS: join(this.folder, "plan.yaml"),
      FLEAD_HELD_OUT: join(this.folder, "held-out"),
      FLEAD_DATA_DIR: this.dataDir,
      FLEAD_GRPC_ADDRESS: `127.0.0.1:${this.#ports.grpc}`,
      FLEAD_HTTP_ADDRESS: `127.0.0.1:${this.#ports.http}`,
      DATABASE_URL: "",
    });
  }

  startAgent(gateway: string): Life {
    return this.#begin("agent", gateway, {
      FLEAD_GATEWAY_ID: gateway,
      FLEAD_SITE: `site-${gateway}`,
      FLEAD_MQTT_URL: this.#brokerUrl,
      FLEAD_COORDINATOR: `127.0.0.1:${this.#ports.grpc}`,
      FLEAD_DATA_DIR: join(this.folder, gateway),
      FLEAD_COHORTS: `${this.#cohort}=pump-*`,
      FLEAD_ALERT_PREFIX: "off",
      FLEAD_AGENT_HTTP: "off",
    });
  }

  /** Publishes every pump's rows; the function returned ends that. */
  startPlant(): () => Promise<void> {
    const stop = new AbortController();
    const published = publishPlant(this.#brokerUrl, this.#pumps, PLANT_SPEED, () => undefined, stop.signal);
    return async () => {
      stop.abort();
      await published;
    };
  }

  /** Leaves no process behind, whatever state the test ended in. */
  async close(): Promise<void> {
    for (const life of this.#lives) life.kill();
    await Promise.all([...this.#lives].map(({ ended }) => ended));
    await this.#closeBroker();
    // Children of a killed coordinator may still be starting the server.
    await eventually("PostgreSQL is gone", () => {
      const left = processesNaming(this.folder);
      for (const pid of [...left, ...serverOf(this.dataDir)]) signal(pid, "SIGQUIT");
      return left.length === 0 || undefined;
    });
  }

  #begin(command: string, name: string, variables: Readonly<Record<string, string>>): Life {
    const life = new Life(command, variables, join(this.folder, `${name}.log`));
    this.#lives.add(life);
    void life.ended.then(() => this.#lives.delete(life));
    return life;
  }
}

/** The same stretch of a healthy pump over and over: nothing it does is new, so that every row is learned from. */
export function steadyPump(pumpIndex: number): Pump {
  const never = { firstFaultAfterRows: Number.POSITIVE_INFINITY, faultEveryRows: 1_000 };
  const pump = createPump({ seed: 1, pumpIndex, startMs: PLANT_START_MS, ...never });
  const stretch = Array.from({ length: STRETCH_ROWS }, () => pump.next());
  let row = 0;
  return {
    next: () => {
      const { values, fault } = stretch[row % STRETCH_ROWS] as PumpRow;
      return { atMs: PLANT_START_MS + 1_000 * row++, values, fault };
    },
  };
}

/** The embedded server outlives a killed coordinator. */
function serverOf(dataDir: string): number[] {
  const file = join(dataDir, "postgres", "cluster", "postmaster.pid");
  return existsSync(file) ? [Number.parseInt(readFileSync(file, "utf8"), 10)] : [];
}

/** Processes whose command line names the folder; none where there is no /proc. */
function processesNaming(folder: string): number[] {
  if (!existsSync("/proc/self/cmdline")) return [];
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder);
      } catch {
        return false; // it ended meanwhile
      }
    });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    if (pid > 0) process.kill(pid, name);
  } catch {
    // it ended meanwhile
  }
}
