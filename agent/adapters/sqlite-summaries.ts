// Closed windows that wait for a report, and those that were open when the agent stopped, in SQLite.
import { deserialize, serialize } from "node:v8";
import type Database from "better-sqlite3";
import type { OpenWindows, QueuedSummaries, SummaryStore } from "../ports/agent-store.ts";
import type { WindowSummaries } from "../ports/coordinator-link.ts";
import type { Outbox } from "./sqlite-outbox.ts";
import type { Room } from "./sqlite-room.ts";

export class SqliteSummaries implements SummaryStore {
  readonly #database: Database.Database;
  readonly #queue: Outbox<WindowSummaries>;
  readonly #room: Room;

  constructor(database: Database.Database, queue: Outbox<WindowSummaries>, room: Room) {
    this.#database = database;
    this.#queue = queue;
    this.#room = room;
  }

  add(summaries: readonly WindowSummaries[]): void {
    this.#room.write("summaries", () => {
      for (const each of summaries) this.#queue.add(each, null);
    });
  }

  oldest(maxBytes: number): QueuedSummaries[] {
    const count = Math.max(1, this.#queue.fitting(maxBytes));
    return this.#queue.oldest(count).map(({ sequence, item }) => ({ sequence, summaries: item }));
  }

  remove(sequences: readonly number[]): void {
    this.#room.write("summaries", () => {
      for (const sequence of sequences) this.#queue.remove(sequence);
    });
  }

  clear(): void {
    this.#room.write("summaries", () => {
      this.#queue.clear();
      this.#database.prepare("DELETE FROM open_windows").run();
    });
  }

  saveOpen(devices: readonly OpenWindows[]): void {
    this.#room.write("summaries", () => {
      this.#database.prepare("DELETE FROM open_windows").run();
      const insert = this.#database.prepare("INSERT INTO open_windows VALUES (?, ?)");
      for (const device of devices) insert.run(device.deviceId, serialize(device));
    });
  }

  takeOpen(): OpenWindows[] {
    const rows = this.#room.write("summaries", () =>
      this.#database.prepare<[], { body: Buffer }>("DELETE FROM open_windows RETURNING body").all(),
    );
    return rows.flatMap(({ body }) => {
      try {
        return [deserialize(body) as OpenWindows];
      } catch {
        return [];
      }
    });
  }
}
