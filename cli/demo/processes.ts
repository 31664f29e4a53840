// Starts `flead` programs as processes of their own and sees them to their end.
import { type ChildProcess, fork } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import { MALLOC_SETTINGS } from "../memory.ts";

/** What a program says of itself over IPC once it serves. */
export interface Ready {
  readonly grpc?: string;
  readonly url?: string;
}

export interface Program {
  readonly name: string;
  readonly pid: number;
  readonly ready: Ready;
  /** Rejects when the program ends before it was stopped. */
  readonly died: Promise<never>;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;

/**
 * Runs `flead <args>` with the variables given; its log goes to `logFile`. Resolves when it serves; rejects, with the
 * program ended, when it cannot or `stop` aborts first.
 */
export async function startProgram(
  name: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>>,
  logFile: string,
  stop?: AbortSignal,
): Promise<Program> {
  const child = fork(join(packageRoot, "dist/cli/flead.js"), [...args], {
    env: { ...MALLOC_SETTINGS, ...process.env, ...variables },
    // The demo stops its programs itself: Ctrl-C must not reach them first.
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  child.stderr?.pipe(createWriteStream(logFile));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let stopping = false;
  const died = new Promise<never>((_, reject) => {
    child.once("exit", () => stopping || reject(new Error(`${name} ended by itself; its log is ${logFile}`)));
  });
  died.catch(() => undefined);
  const end = async () => {
    stopping = true;
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(force);
  };
  try {
    const ready = await Promise.race([readiness(child, name, logFile, stop), died]);
    return { name, pid: child.pid as number, ready, died, stop: end }; // what is ready has a pid
  } catch (error) {
    await end();
    throw error;
  }
}

function readiness(child: ChildProcess, name: string, logFile: string, stop?: AbortSignal): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`${name} did not start within ${READY_TIMEOUT_MS} ms; its log is ${logFile}`));
    const timer = setTimeout(late, READY_TIMEOUT_MS);
    child.once("exit", () => clearTimeout(timer));
    stop?.addEventListener("abort", () => reject(stop.reason), { once: true });
    child.on("message", (message: { ready?: Ready }) => {
      if (message.ready === undefined) return;
      clearTimeout(timer);
      resolve(message.ready);
    });
  });
}
