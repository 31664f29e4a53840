import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore, type StoreSettings } from "../../agent/adapters/sqlite-store.ts";
import { cohortId, planId, updateId } from "../../learning/ids.ts";
import { fillUp, smallDisk } from "../support/small-disk.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-store-full");
const COHORT = cohortId("pumps");
const KIB = 1024;
const MIB = KIB * KIB;

let stores = 0;
function openStore(place: string, settings: Omit<StoreSettings, "nowMs">): SqliteStore {
  const store = new SqliteStore(join(place, "agent.sqlite"), { nowMs: 0, ...settings });
  onTestFinished(() => store.close());
  return store;
}

/** About 100 KiB each. */
function addUpdate(store: SqliteStore, number: number): void {
  const update = {
    updateId: updateId(`01${String(number).padStart(24, "0")}`),
    cohort: COHORT,
    planId: planId("a".repeat(64)),
    baseVersion: 1,
    localSteps: 1,
    samples: 50,
    loss: 0.1,
    encoding: "float32" as const,
    delta: new Uint8Array(100 * KIB),
    roundId: null,
  };
  store.learning.addUpdate(update, false);
}

const addSummaries = (store: SqliteStore, kib = 100) =>
  store.summaries.add([{ cohort: COHORT, windowMs: 30_000, channels: ["c".repeat(kib * KIB)], windows: [] }]);

const addAlert = (store: SqliteStore, kib: number) =>
  store.alerts.addMessages([{ topic: "event", payload: "x".repeat(kib * KIB), retain: false }]);

/** How often `add` succeeds until it throws for lack of room, at most `limit` times. */
function untilFull(add: (number: number) => void, limit: number): number {
  for (let number = 1; number <= limit; number++) {
    try {
      add(number);
    } catch (error) {
      expect(error).toMatchObject({ code: "SQLITE_FULL" });
      return number - 1;
    }
  }
  return limit;
}

test("in a full file summaries give way to updates, and both to alerts, which are refused last", () => {
  const store = openStore(join(folder, `capped-${++stores}`), { maxBytes: 2 * MIB });
  const summaries = untilFull(() => addSummaries(store), 100);
  expect(summaries).toBeGreaterThan(10);
  expect(store.state().unwritable).toEqual(["summaries"]);
  expect(store.counter("dropped_window"), "what is queued does not give way to its like").toBe(0);

  const updates = untilFull((number) => addUpdate(store, number), 100);
  expect(updates).toBeGreaterThan(10);
  expect(store.outboxBytes()).toMatchObject({ summaries: 0 });
  expect(store.counter("dropped_update")).toBe(0);

  const alerts = untilFull(() => addAlert(store, 100), 100);
  expect(alerts).toBeGreaterThan(10);
  expect(store.outboxBytes()).toMatchObject({ summaries: 0, updates: 0 });
  expect(store.counter("dropped_update")).toBe(updates);
  expect(store.alerts.queuedMessages(100)).toHaveLength(alerts);
  expect(store.state().unwritable).toEqual(["summaries", "updates", "alerts"]);

  for (const { sequence } of store.alerts.queuedMessages(100)) store.alerts.removeMessage(sequence);
  addAlert(store, 100);
  addUpdate(store, 200);
  addSummaries(store);
  expect(store.state().unwritable).toEqual([]);
});

test("what a transaction writes that is kept longest decides what gives way to it", () => {
  const store = openStore(join(folder, `capped-${++stores}`), { maxBytes: 2 * MIB });
  const updates = untilFull((number) => addUpdate(store, number), 100);
  store.transaction(() => {
    addAlert(store, 100);
    addUpdate(store, 99);
  });
  expect(store.counter("dropped_update")).toBeGreaterThan(0);
  expect(store.counter("updates_trained"), "the transaction that was done again counts once").toBe(updates + 1);
  expect(store.alerts.queuedMessages(9)).toHaveLength(1);
});

test("on a full disk alerts are written where the ballast was, and it comes back with the room", (context) => {
  const place = smallDisk(join(folder, `disk-${++stores}`), 16 * MIB);
  if (place === null) return context.skip("mounting a small disk takes root");
  const store = openStore(place, { ballastBytes: 2 * MIB });
  expect(store.state().ballast).toBe(true);
  addSummaries(store);
  const others = fillUp(place);

  expect(() => addSummaries(store, 1000)).toThrow(/full/);
  expect(store.state()).toMatchObject({ ballast: true, unwritable: ["summaries"] });
  untilFull((number) => addUpdate(store, number), 100);
  expect(store.state().ballast, "the ballast is for alerts").toBe(true);
  const alerts = untilFull(() => addAlert(store, 1), 1000);
  expect(alerts).toBe(1000);
  expect(store.state().ballast).toBe(false);
  store.keepHouse();
  expect(store.state().ballast, "there is no room yet").toBe(false);

  rmSync(others);
  store.keepHouse();
  addSummaries(store, 1000);
  addUpdate(store, 200);
  expect(store.state()).toMatchObject({ ballast: true, unwritable: [] });
  expect(store.alerts.queuedMessages(2000)).toHaveLength(alerts);
});
