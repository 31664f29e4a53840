// Writes to the gateway's file, with room made for them where the disk or the file's limit is reached.
import Database from "better-sqlite3";
import { givingWayTo, KEEPING_ORDER, type Kept, keptLonger } from "../core/keeping.ts";
import type { Ballast } from "./ballast.ts";
import { isDamage } from "./sqlite-file.ts";

/** What can be dropped to make room; counted as dropped. */
export interface Droppable {
  /** Drops the oldest, about `bytes` of them; false: there is nothing. */
  dropOldest(bytes: number): boolean;
}

export interface RoomDeps {
  readonly database: Database.Database;
  readonly queues: Readonly<Record<"summaries" | "updates", Droppable>>;
  readonly ballast: Ballast | null;
  /** The file turned out not to be the database it was; said once. */
  readonly onDamage: () => void;
}

const DROPPED_AT_ONCE_BYTES = 1024 * 1024;
/** Pages in the journal before they go to the file: as SQLite has it, and where the journal has no room to grow. */
const JOURNAL_PAGES = { usual: 1_000, full: 64 } as const;
/** What failed so long ago and was not tried since says nothing any more. */
const FAILING_MS = 60_000;

export class Room {
  readonly #deps: RoomDeps;
  /** What the transaction in progress has written so far that is kept longest. */
  #kept: Kept = "summaries";
  readonly #failedAtMs = new Map<Kept, number>();

  #damaged = false;

  constructor(deps: RoomDeps) {
    this.#deps = deps;
  }

  get damaged(): boolean {
    return this.#damaged;
  }

  /** What could not be written when it was last tried, in the last minute. */
  get failing(): Kept[] {
    const nowMs = performance.now();
    return KEEPING_ORDER.filter(
      (kept) => nowMs - (this.#failedAtMs.get(kept) ?? Number.NEGATIVE_INFINITY) < FAILING_MS,
    );
  }

  /** To be called now and then: takes the ballast back where there is room. */
  keepHouse(): void {
    const { database, ballast } = this.#deps;
    if (ballast === null || ballast.held || !ballast.fill()) return;
    database.pragma(`wal_autocheckpoint = ${JOURNAL_PAGES.usual}`);
  }

  /**
   * All of `work` or, if it throws, nothing. Where there is no room, what is kept less long gives way and `work` is done
   * again; within another write it is part of that one.
   */
  write<Result>(kept: Kept, work: () => Result): Result {
    const { database } = this.#deps;
    if (database.inTransaction) {
      this.#kept = keptLonger(this.#kept, kept);
      return work();
    }
    for (;;) {
      this.#kept = kept;
      try {
        const result = database.transaction(work)();
        this.#failedAtMs.delete(this.#kept);
        return result;
      } catch (error) {
        if (isFull(error) && this.#makeRoom()) continue;
        if (isDamage(error)) this.#foundDamaged();
        if (error instanceof Database.SqliteError) this.#failedAtMs.set(this.#kept, performance.now());
        throw error;
      }
    }
  }

  #foundDamaged(): void {
    if (this.#damaged) return;
    this.#damaged = true;
    this.#deps.onDamage();
  }

  /** A full disk has no room even for a deletion; then only the ballast helps, and it is the alerts'. */
  #makeRoom(): boolean {
    const { database, queues, ballast } = this.#deps;
    for (const kind of givingWayTo(this.#kept)) {
      try {
        if (database.transaction(() => queues[kind].dropOldest(DROPPED_AT_ONCE_BYTES))()) return true;
      } catch (error) {
        if (!isFull(error)) throw error;
      }
    }
    if (this.#kept !== "alerts" || !ballast?.release()) return false;
    database.pragma(`wal_autocheckpoint = ${JOURNAL_PAGES.full}`);
    return true;
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(FULL|IOERR_SHMSIZE)/.test(error.code);
}
