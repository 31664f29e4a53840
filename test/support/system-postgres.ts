// A private cluster of the PostgreSQL that Debian installs, on a socket in a folder of the test.
import { execFile, execFileSync } from "node:child_process";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { debianProgram } from "./debian-program.ts";

const run = promisify(execFile);

const BIN = "/usr/lib/postgresql/15/bin";

export const hasSystemPostgres = (): boolean => debianProgram("postgres", [BIN]) !== null;

/** pg_dump, pg_restore and the like, as an operator runs them. */
export const runSystemPostgres = (program: string, ...args: string[]) => run(join(BIN, program), args);

/** Starts a new cluster in `folder`/system; gives its URL and how to end it. */
export async function startSystemPostgres(folder: string): Promise<{ url: string; stop(): Promise<void> }> {
  const home = join(folder, "system");
  mkdirSync(folder, { recursive: true });
  mkdirSync(home, { mode: 0o700 });
  const owner = debianOwner();
  if (owner) chownSync(home, owner.uid, owner.gid);
  const as = { ...owner, cwd: home };
  const cluster = join(home, "cluster");
  const settings = `-c listen_addresses='' -k '${home}' -c fsync=off`;
  await run(join(BIN, "initdb"), ["--pgdata", cluster, "--username", "flead", "--auth", "trust"], as);
  const pgCtl = (...args: string[]) => run(join(BIN, "pg_ctl"), ["--pgdata", cluster, ...args], as);
  await pgCtl("start", "--wait", "--silent", "--log", join(home, "server.log"), "-o", settings);
  let running = true;
  return {
    url: `postgres://flead@localhost/postgres?host=${encodeURIComponent(home)}`,
    stop: async () => {
      if (running) await pgCtl("stop", "--mode", "immediate", "--silent");
      running = false;
    },
  };
}

/** PostgreSQL does not run as root; Debian's package brings a user for it. */
function debianOwner(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const [uid, gid] = ["-u", "-g"].map((flag) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" })));
  return { uid: uid ?? 0, gid: gid ?? 0 };
}
