// A PostgreSQL that several coordinators share by URL: the embedded server, started by the test instead of by one of them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../coordinator/adapters/embedded-postgres.ts";
import { eventually } from "./eventually.ts";

export interface SharedPostgres {
  readonly url: string;
  /** As after a power cut: every session is cut off in the middle of what it does, and the server recovers. */
  crashAndRecover(): Promise<void>;
  stop(): Promise<void>;
}

export async function startSharedPostgres(folder: string): Promise<SharedPostgres> {
  const home = join(folder, "server");
  const { connection, stop } = await startEmbeddedPostgres(home);
  const { user, database, host } = connection;
  return {
    url: `postgres://${user}@localhost/${database}?host=${encodeURIComponent(host)}`,
    crashAndRecover: async () => {
      const pid = Number.parseInt(readFileSync(join(home, "postgres", "cluster", "postmaster.pid"), "utf8"), 10);
      process.kill(pid, "SIGQUIT"); // PostgreSQL's immediate shutdown: no checkpoint, no farewell
      await eventually("the server is gone", () => (isAlive(pid) ? undefined : true));
      await startEmbeddedPostgres(home);
    },
    stop,
  };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
