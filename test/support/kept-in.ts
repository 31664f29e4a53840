// What an agent's database has on disk while an agent has it open: as the next agent would find it after a kill.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { temporaryFolder } from "./temp.ts";

export function keptIn<Found>(path: string, read: (store: SqliteStore) => Found): Found {
  const copy = join(temporaryFolder("kept-in"), "agent.sqlite");
  for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, copy + suffix);
  const store = new SqliteStore(copy, { nowMs: 0 });
  try {
    return read(store);
  } finally {
    store.close();
  }
}
