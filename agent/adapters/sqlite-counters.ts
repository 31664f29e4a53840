// Counts that outlive the process.
import type Database from "better-sqlite3";
import type { Counter } from "../ports/agent-store.ts";

export class Counters {
  readonly #add: Database.Statement<[Counter, number]>;
  readonly #get: Database.Statement<[Counter], { value: number }>;

  constructor(database: Database.Database) {
    this.#add = database.prepare(
      "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
    );
    this.#get = database.prepare("SELECT value FROM counters WHERE name = ?");
  }

  add(name: Counter, by: number): void {
    this.#add.run(name, by);
  }

  get(name: Counter): number {
    return this.#get.get(name)?.value ?? 0;
  }
}
