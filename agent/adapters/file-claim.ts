// The claim on the agent's database: one agent has it, and the folder that it lies in, to itself.
import { truncateSync } from "node:fs";
import { dirname, resolve } from "node:path";
import Database from "better-sqlite3";

/** An agent that was just killed may still be letting go. */
const PATIENCE_MS = 1_000;

class FileInUseError extends Error {
  constructor(path: string) {
    const folder = resolve(dirname(path));
    super(`another agent uses the data folder ${folder}: stop it, or give this one a folder of its own (--data-dir)`);
    this.name = "FileInUseError";
  }
}

/** Held by SQLite's lock on an empty file beside it, so that it ends with the process, however that ends. Throws FileInUseError. */
export function claimFile(path: string): () => void {
  const lockPath = `${path}.lock`;
  const lock = new Database(lockPath, { timeout: PATIENCE_MS });
  try {
    begin(lock, lockPath);
    return () => void lock.close();
  } catch (error) {
    lock.close();
    if (error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY")) throw new FileInUseError(path);
    throw error;
  }
}

function begin(lock: Database.Database, lockPath: string): void {
  try {
    lock.pragma("journal_mode = MEMORY"); // a full disk has no room for a journal
    lock.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    if (!(error instanceof Database.SqliteError && error.code === "SQLITE_NOTADB")) throw error;
    truncateSync(lockPath); // damaged, and nobody's: it could not be read while another had it
    lock.exec("BEGIN EXCLUSIVE");
  }
}
