// A PostgreSQL that several coordinators share by URL: the embedded server, started by the test instead of by one of them.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";
import { eventually } from "./eventually.ts";

export interface SharedPostgres {
  readonly url: string;
  readonly socketFolder: string;
  stop(): Promise<void>;
  /** Stops every process of the server: its connections stay open and nothing answers. */
  freeze(): void;
  thaw(): void;
  /** As `pg_ctl stop -m immediate`: no goodbye, and recovery at the next start. Resolves when it is gone. */
  crash(): Promise<void>;
  start(): Promise<void>;
  /** As after a power cut: every session is cut off in the middle of what it does, and the server recovers. */
  crashAndRecover(): Promise<void>;
}

export async function startSharedPostgres(folder: string): Promise<SharedPostgres> {
  const dataDir = join(folder, "server");
  let server = await startEmbeddedPostgres(dataDir);
  const { user, database, host } = server.connection;
  const pidFile = join(dataDir, "postgres/cluster/postmaster.pid");
  const postmaster = () => Number.parseInt(readFileSync(pidFile, "utf8"), 10);
  const all = () => [postmaster(), ...childrenOf(postmaster())];
  const crash = async () => {
    const pid = postmaster();
    process.kill(pid, "SIGQUIT");
    await eventually("the server is gone", () => isGone(pid) || undefined);
  };
  const start = async () => {
    server = await startEmbeddedPostgres(dataDir);
  };
  return {
    url: `postgres://${user}@localhost/${database}?host=${encodeURIComponent(host)}`,
    socketFolder: host,
    stop: () => server.stop(),
    freeze: () => {
      for (const pid of all()) signal(pid, "SIGSTOP");
    },
    thaw: () => {
      for (const pid of all()) signal(pid, "SIGCONT");
    },
    crash,
    start,
    crashAndRecover: () => crash().then(start),
  };
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

/** Of processes that may end meanwhile. */
function signal(pid: number, name: NodeJS.Signals): void {
  if (!isGone(pid)) process.kill(pid, name);
}

function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && parentOf(pid) === parent);
}

function parentOf(pid: number): number | null {
  try {
    const afterName = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1) ?? "";
    return Number(afterName.split(" ")[1]);
  } catch {
    return null; // it ended meanwhile
  }
}
