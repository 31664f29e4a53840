// The gateway's database file: opened, brought to the current schema, and set aside when it is damaged.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { packageRoot } from "../../runtime/package-root.ts";

const MIGRATIONS = join(packageRoot, "agent", "adapters", "sql");

export interface OpenedFile {
  readonly database: Database.Database;
  /** Where a damaged file was put; null: it was whole, or there was none. */
  readonly quarantined: string | null;
}

/** Throws when the folder can't be written or the file is of a later version; a damaged file is never a reason not to start. */
export function openFile(path: string, nowMs: number): OpenedFile {
  mkdirSync(dirname(path), { recursive: true });
  try {
    return { database: open(path), quarantined: null };
  } catch (error) {
    if (!isDamage(error)) throw error;
    const quarantined = `${path}.damaged-${nowMs}`;
    for (const suffix of ["", "-wal", "-shm"]) {
      if (existsSync(path + suffix)) renameSync(path + suffix, quarantined + suffix);
    }
    return { database: open(path), quarantined };
  }
}

function open(path: string): Database.Database {
  const database = new Database(path);
  try {
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = NORMAL");
    database.pragma("foreign_keys = ON");
    const found = database.pragma("quick_check(1)", { simple: true });
    if (found !== "ok") throw new DamagedFileError(`${path}: ${String(found)}`);
    migrate(database, path);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

class DamagedFileError extends Error {}

function isDamage(error: unknown): boolean {
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
