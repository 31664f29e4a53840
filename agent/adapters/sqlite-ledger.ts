// What each day cost in bytes, in SQLite.
import type Database from "better-sqlite3";
import { type DayBytes, noBytes } from "../core/day-bytes.ts";
import type { LedgerStore } from "../ports/agent-store.ts";
import type { Room } from "./sqlite-room.ts";

const KEPT_DAYS = 400;

interface Row {
  readonly flash_written: number | null;
  readonly coordinator_sent: number;
  readonly coordinator_received: number;
  readonly broker_sent: number;
  readonly broker_received: number;
}

export class SqliteLedger implements LedgerStore {
  readonly #database: Database.Database;
  readonly #room: Room;

  constructor(database: Database.Database, room: Room) {
    this.#database = database;
    this.#room = room;
  }

  day(day: string): DayBytes {
    const row = this.#database.prepare<[string], Row>("SELECT * FROM ledger WHERE day = ?").get(day);
    if (row === undefined) return noBytes;
    return {
      flashWritten: row.flash_written,
      coordinatorSent: row.coordinator_sent,
      coordinatorReceived: row.coordinator_received,
      brokerSent: row.broker_sent,
      brokerReceived: row.broker_received,
    };
  }

  save(day: string, bytes: DayBytes): void {
    this.#room.write("learning", () => {
      this.#database
        .prepare(
          `INSERT OR REPLACE INTO ledger
           VALUES (:day, :flashWritten, :coordinatorSent, :coordinatorReceived, :brokerSent, :brokerReceived)`,
        )
        .run({ day, ...bytes });
      this.#database
        .prepare("DELETE FROM ledger WHERE day <= (SELECT day FROM ledger ORDER BY day DESC LIMIT 1 OFFSET ?)")
        .run(KEPT_DAYS);
    });
  }
}
