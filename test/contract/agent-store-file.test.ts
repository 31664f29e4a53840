// The agent's database as a file: damaged, of another version, or another agent's.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { noFleet } from "../../learning/fleet.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { PLAN, PUMPS, slot, updateOf } from "../support/kept-things.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-store-file");
let places = 0;

test.each([
  ["no database at all", () => Buffer.from("this is not a database".repeat(500))],
  [
    "a database with pages of noise",
    (whole: Buffer) => Buffer.concat([whole.subarray(0, 4096), Buffer.alloc(whole.length - 4096, 7)]),
  ],
])("a damaged file, %s, is set aside and a new one begun", (_, damage) => {
  const place = join(folder, `${++places}`);
  const path = join(place, "agent.sqlite");
  const before = new SqliteStore(path, { nowMs: 0 });
  before.learning.startPlan(PUMPS, PLAN);
  before.close();
  writeFileSync(path, damage(readFileSync(path)));
  const store = new SqliteStore(path, { nowMs: 1234 });
  expect(store.quarantined).toBe(`${path}.damaged-1234`);
  expect(readdirSync(place)).toContain("agent.sqlite.damaged-1234");
  expect(store.learning.cohort(PUMPS)).toBeNull();
  store.learning.startPlan(PUMPS, PLAN);
  store.close();
  const again = new SqliteStore(path, { nowMs: 5678 });
  expect(again.quarantined).toBeNull();
  expect(again.counter("quarantined_file")).toBe(1);
  again.close();
});

test("of many damaged files the newest two are kept, and all that are met are counted", () => {
  const place = join(folder, `${++places}`);
  const path = join(place, "agent.sqlite");
  for (const nowMs of [1, 2, 3]) {
    new SqliteStore(path, { nowMs: 0 }).close();
    writeFileSync(path, "noise".repeat(1000));
    const store = new SqliteStore(path, { nowMs });
    expect(store.counter("quarantined_file")).toBe(nowMs);
    store.close();
  }
  const kept = readdirSync(place).filter((name) => /damaged-\d+$/.test(name));
  expect(kept).toEqual(["agent.sqlite.damaged-2", "agent.sqlite.damaged-3"]);
});

test("a file from before fleet statistics keeps its slot and what waits, and knows nothing of the fleet", () => {
  const path = join(folder, "earlier", "agent.sqlite");
  const before = new SqliteStore(path, { nowMs: 0 });
  before.learning.startPlan(PUMPS, PLAN);
  before.learning.saveSlot(PUMPS, slot);
  before.learning.addUpdate(updateOf(1), false);
  const waiting = before.outboxBytes();
  before.close();
  const database = new Database(path);
  database.exec(
    `ALTER TABLE cohorts DROP COLUMN fleet; DROP TABLE open_windows; DROP TABLE plan_key; DROP TABLE ledger;
     DROP TABLE snoozes; DROP TABLE storm; DROP TABLE discovered;
     DROP TRIGGER outbox_added; DROP TRIGGER outbox_removed; DROP TABLE outbox_bytes;
     ALTER TABLE cohorts DROP COLUMN candidate; ALTER TABLE cohorts DROP COLUMN previous`,
  );
  database.pragma("user_version = 1");
  database.close();
  const store = new SqliteStore(path, { nowMs: 0 });
  expect(store.learning.cohort(PUMPS)?.slot).toEqual({ ...slot, fleet: noFleet });
  expect(store.outboxBytes()).toEqual(waiting);
  store.close();
});

test("a file of a later version is left alone and named", () => {
  const path = join(folder, "later", "agent.sqlite");
  new SqliteStore(path, { nowMs: 0 }).close();
  const database = new Database(path);
  database.pragma("user_version = 99");
  database.close();
  expect(() => new SqliteStore(path, { nowMs: 0 })).toThrow(/later version/);
});

test("a file that is found damaged while it is in use is set aside with the next start", () => {
  const place = join(folder, `${++places}`);
  const path = join(place, "agent.sqlite");
  const store = new SqliteStore(path, { nowMs: 0, maxOutboxBytes: 64 * 1024 * 1024 });
  for (let number = 1; number <= 150; number++) store.learning.addUpdate(updateOf(number, 50_000), false); // beyond its cache
  expect(store.state().damaged).toBe(false);
  const pages = openSync(path, "r+");
  writeSync(pages, Buffer.alloc(statSync(path).size - 4096, 7), 0, null, 4096);
  closeSync(pages);
  expect(() => {
    for (let number = 1; number <= 150; number++) store.learning.removeUpdate(updateOf(number).updateId);
  }).toThrow(/malformed/);
  expect(store.state().damaged).toBe(true);
  store.close();
  const next = new SqliteStore(path, { nowMs: 77 });
  expect(next.quarantined).toBe(`${path}.damaged-77`);
  next.close();
  const after = new SqliteStore(path, { nowMs: 78 });
  expect(after.quarantined, "the suspicion went with the file").toBeNull();
  after.close();
});

test("a folder that an agent has is no other's: not while it lives, and at once when it was killed", async () => {
  const path = join(folder, `${++places}`, "agent.sqlite");
  const program = `
    import { SqliteStore } from ${JSON.stringify(join(packageRoot, "agent/adapters/sqlite-store.ts"))};
    globalThis.store = new SqliteStore(${JSON.stringify(path)}, { nowMs: 0 });
    console.log("open");
    setInterval(() => undefined, 1_000);`;
  const other = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void other.kill("SIGKILL"));
  await once(other.stdout, "data");
  expect(() => new SqliteStore(path, { nowMs: 0 })).toThrow(
    `another agent uses the data folder ${dirname(path)}: stop it, or give this one a folder of its own (--data-dir)`,
  );
  other.kill("SIGKILL");
  await once(other, "exit");
  new SqliteStore(path, { nowMs: 0 }).close();
});

test("a claim that rotted on the card keeps nobody out", () => {
  const path = join(folder, `${++places}`, "agent.sqlite");
  mkdirSync(dirname(path));
  writeFileSync(`${path}.lock`, "noise".repeat(1_000));
  const store = new SqliteStore(path, { nowMs: 0 });
  expect(() => new SqliteStore(path, { nowMs: 0 })).toThrow(/another agent/);
  store.close();
  new SqliteStore(path, { nowMs: 0 }).close();
});
