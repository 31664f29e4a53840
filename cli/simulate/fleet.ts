// A simulated fleet in processes of its own, as one thing: told what to do, asked what it came to.
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import { pause } from "../../runtime/retry.ts";
import { MALLOC_SETTINGS } from "../memory.ts";
import type { Reading } from "./meter.ts";
import { oneAfterTheOther, sideBySide } from "./readings.ts";
import { type Answer, type Load, NO_LOAD, type Order, type SimulationSettings } from "./settings.ts";

const ASK_EVERY_MS = 100;
const STOP_TIMEOUT_MS = 15_000;
/** Of a worker beside its sessions: modules, pipes, lookups on their way. */
const OTHER_FILES = 64;

export interface SimulatedFleet {
  /** Rejects when a worker ends before it was stopped. */
  readonly died: Promise<never>;
  /** Resolves when every gateway is ready, or with what is after `withinMs`. */
  connected(withinMs: number, stop?: AbortSignal): Promise<Reading>;
  load(load: Load): Promise<void>;
  /** The next `updates` gateways in turn send one update each. */
  burst(updates: number): Promise<void>;
  /** What happened since the last reading. */
  read(): Promise<Reading>;
  /** Ends the load and resolves when all is answered, or after `withinMs`; what happened since the last reading. */
  settle(withinMs: number): Promise<Reading>;
  close(): Promise<void>;
}

export class TooFewFilesError extends Error {
  constructor(needed: number, allowed: number) {
    super(
      `each session takes a file descriptor: ${needed} are needed in a process, ${allowed} are allowed; raise ` +
        "`ulimit -n`, or use more --processes",
    );
    this.name = "TooFewFilesError";
  }
}

/** How many files a process may have open, as Linux tells it; null where it does not. */
export function openFilesAllowed(pid: number | "self" = "self"): number | null {
  try {
    const limit = /^Max open files\s+\S+\s+(\d+|unlimited)/m.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))?.[1];
    return limit === undefined || limit === "unlimited" ? null : Number(limit);
  } catch {
    return null;
  }
}

/** Throws TooFewFilesError before a process is started that could not hold its sessions. */
export async function startFleet(settings: SimulationSettings): Promise<SimulatedFleet> {
  const allowed = openFilesAllowed();
  const needed = Math.ceil(settings.gateways / settings.processes) + OTHER_FILES;
  if (allowed !== null && needed > allowed) throw new TooFewFilesError(needed, allowed);
  const workers = Array.from({ length: settings.processes }, () => new Worker());
  const ask = (order: (worker: number) => Order) =>
    Promise.all(workers.map((worker, index) => worker.ask(order(index))));
  const read = async () => sideBySide((await ask(() => ({ do: "read" }))).filter((reading) => reading !== null));
  const load = async (wanted: Load) => {
    await ask(() => ({ do: "load", load: wanted }));
  };
  await ask((worker) => ({ do: "start", settings: { ...settings, worker } }));

  const readUntil = async (done: (reading: Reading) => boolean, withinMs: number, stop?: AbortSignal) => {
    const deadlineMs = performance.now() + withinMs;
    let reading = await read();
    while (!done(reading) && performance.now() < deadlineMs && !stop?.aborted) {
      await pause(ASK_EVERY_MS, stop);
      reading = oneAfterTheOther(reading, await read());
    }
    return reading;
  };
  return {
    died: Promise.race(workers.map((worker) => worker.died)),
    connected: (withinMs, stop) => readUntil(({ ready }) => ready === settings.gateways, withinMs, stop),
    load,
    burst: async (updates) => {
      const share = (worker: number) => Math.floor((updates + settings.processes - 1 - worker) / settings.processes);
      await ask((worker) => ({ do: "burst", updates: share(worker) }));
    },
    read,
    settle: async (withinMs) => {
      await load(NO_LOAD);
      return readUntil(({ unanswered }) => unanswered === 0, withinMs);
    },
    close: async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
    },
  };
}

/** One child process; orders are answered in any order. */
class Worker {
  readonly died: Promise<never>;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #exited: Promise<void>;
  #stopping = false;
  #orders = 0;

  constructor() {
    this.#child = fork(join(packageRoot, "dist/cli/simulate/worker.js"), [], {
      env: { ...MALLOC_SETTINGS, ...process.env },
      execArgv: [],
      detached: true, // Ctrl-C reaches the parent, which ends its workers when all is counted
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.#exited = new Promise((resolve) => this.#child.once("exit", () => resolve()));
    this.died = this.#exited.then(() => {
      if (this.#stopping) return new Promise<never>(() => undefined);
      throw new Error("a worker process of the simulated fleet ended by itself");
    });
    this.died.catch(() => undefined);
  }

  async ask(order: Order): Promise<Reading | null> {
    const id = this.#orders++;
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.#child.send({ id, order });
    const { reading, failed } = await Promise.race([answer, this.died]);
    if (failed !== null) throw new Error(failed);
    return reading;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.kill("SIGTERM");
    const force = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(force);
  }
}
