// The gateway's database file: opened, brought to the current schema, and set aside when it is damaged.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";
import { packageRoot } from "../../runtime/package-root.ts";
import { claimFile } from "./file-claim.ts";

const MIGRATIONS = join(packageRoot, "agent", "adapters", "sql");

export interface OpenedFile {
  readonly database: Database.Database;
  /** Where a damaged file was put; null: it was whole, or there was none. */
  readonly quarantined: string | null;
  /** That lie beside it. */
  readonly quarantinedFiles: number;
  /** Leaves its folder to others, too. */
  readonly close: () => void;
}

/** The newest damaged files that are kept: they are evidence, and no reason to fill the disk. */
const KEPT_QUARANTINED = 2;
/** What the journal may hold on to between two checkpoints, as much as it has at SQLite's default of 1,000 pages. */
const JOURNAL_BYTES = 4 * 1024 * 1024;

/** Its file is set aside when it is opened next, whatever is found in it then. */
export const suspect = (path: string): void => writeFileSync(suspicion(path), "");

const suspicion = (path: string) => `${path}.suspect`;

/**
 * `maxBytes`: of the file without its journal. Throws when the folder can't be written or is another agent's, or the file
 * is of a later version; a damaged file is never a reason not to start.
 */
export function openFile(path: string, nowMs: number, maxBytes?: number): OpenedFile {
  mkdirSync(dirname(path), { recursive: true });
  const release = claimFile(path);
  try {
    const opened = openOrSetAside(path, nowMs, maxBytes);
    const close = () => {
      opened.database.close();
      release();
    };
    return { ...opened, quarantinedFiles: keepNewest(path), close };
  } catch (error) {
    release();
    throw error;
  }
}

function openOrSetAside(
  path: string,
  nowMs: number,
  maxBytes: number | undefined,
): Pick<OpenedFile, "database" | "quarantined"> {
  let quarantined: string | null = null;
  let database: Database.Database;
  try {
    if (existsSync(suspicion(path))) throw new DamagedFileError(`${path} was found damaged while it was in use`);
    database = open(path, maxBytes);
  } catch (error) {
    if (!isDamage(error)) throw error;
    quarantined = `${path}.damaged-${nowMs}`;
    for (const suffix of ["", "-wal", "-shm"]) {
      if (existsSync(path + suffix)) renameSync(path + suffix, quarantined + suffix);
    }
    rmSync(suspicion(path), { force: true });
    database = open(path, maxBytes);
  }
  return { database, quarantined };
}

/** How many there were. */
function keepNewest(path: string): number {
  const folder = dirname(path);
  const damaged = readdirSync(folder)
    .filter((name) => name.startsWith(`${basename(path)}.damaged-`) && !/-(wal|shm)$/.test(name))
    .sort((a, b) => a.length - b.length || a.localeCompare(b));
  for (const name of damaged.slice(0, -KEPT_QUARANTINED)) {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(folder, name + suffix), { force: true });
  }
  return damaged.length;
}

function open(path: string, maxBytes: number | undefined): Database.Database {
  const database = new Database(path);
  try {
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = NORMAL");
    database.pragma("foreign_keys = ON");
    database.pragma(`journal_size_limit = ${JOURNAL_BYTES}`);
    const found = database.pragma("quick_check(1)", { simple: true });
    if (found !== "ok") throw new DamagedFileError(`${path}: ${String(found)}`);
    migrate(database, path);
    if (maxBytes !== undefined) {
      const pageBytes = Number(database.pragma("page_size", { simple: true }));
      database.pragma(`max_page_count = ${Math.ceil(maxBytes / pageBytes)}`); // never below what it has
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

class DamagedFileError extends Error {}

/** Whether the file is not, or not any more, the database it was. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedFileError) return true;
  return error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code);
}

/** Files are forward-only; `user_version` is the number of the last one applied. */
function migrate(database: Database.Database, path: string): void {
  const files = readdirSync(MIGRATIONS).filter((name) => name.endsWith(".sql"));
  const current = Number(database.pragma("user_version", { simple: true }));
  if (current > files.length) throw new Error(`${path} was written by a later version of the agent; use that one`);
  for (const [index, name] of files.sort().entries()) {
    if (index < current) continue;
    database.transaction(() => {
      database.exec(readFileSync(join(MIGRATIONS, name), "utf8"));
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}
