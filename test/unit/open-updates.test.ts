import { expect, test } from "vitest";
import { type OpenOfGateway, OpenUpdates } from "../../coordinator/adapters/open-updates.ts";
import type { NewUpdate } from "../../coordinator/ports/federation-store.ts";
import { cohortId, gatewayId, planId, updateId } from "../../learning/ids.ts";

const LIMITS = { maxOpenUpdates: 5, maxOpenBytes: 1_000, maxOpenUpdatesOfAGateway: 3 };

const from = (gateway: string, bytes = 10, cohort = "pumps"): NewUpdate => ({
  updateId: updateId("01JD0000000000000000000000"),
  cohort: cohortId(cohort),
  planId: planId("0".repeat(64)),
  gatewayId: gatewayId(gateway),
  baseVersion: 1,
  localSteps: 1,
  samples: 50,
  loss: 1,
  encoding: "int8",
  delta: new Uint8Array(bytes),
});

/** Readings of the database, each answered when the test says so. */
function setUp() {
  const readings: ((rows: OpenOfGateway[] | Error) => void)[] = [];
  const open = new OpenUpdates(
    LIMITS,
    () =>
      new Promise((resolve, reject) => {
        readings.push((rows) => (rows instanceof Error ? reject(rows) : resolve(rows)));
      }),
  );
  return { open, readings };
}

const row = (gateway: string, updates: number, bytes = 10 * updates): OpenOfGateway => ({
  cohort: "pumps",
  gatewayId: gateway,
  updates,
  bytes,
});

test("a gateway, and a cohort in number and in bytes, have limits of their own", () => {
  const { open } = setUp();
  for (let n = 0; n < 3; n++) open.stored(from("a"));
  expect(open.limitReached(from("a"))).toBe("3 updates of the gateway wait for a round");
  expect(open.limitReached(from("b"))).toBeNull();
  for (const gateway of ["b", "c"]) open.stored(from(gateway));
  expect(open.limitReached(from("d"))).toBe("5 updates of the cohort wait for a round");
  expect(open.limitReached(from("d", 10, "fans"))).toBeNull();
  open.stored(from("d", 1_000, "fans"));
  expect(open.limitReached(from("e", 1, "fans"))).toBe("1000 bytes of the cohort's updates wait for a round");
});

test("a reading replaces what was known, with what was stored since it began", async () => {
  const { open, readings } = setUp();
  for (let n = 0; n < 3; n++) open.stored(from("a"));
  const refreshed = open.refresh();
  open.stored(from("b"));
  readings[0]?.([row("c", 1)]); // a round counted those of a
  await refreshed;
  expect(open.limitReached(from("a"))).toBeNull();
  for (let n = 0; n < 2; n++) open.stored(from("b"));
  expect(open.limitReached(from("b"))).toBe("3 updates of the gateway wait for a round");
});

test("a reading that fails leaves what was known, and the next one counts", async () => {
  const { open, readings } = setUp();
  for (let n = 0; n < 3; n++) open.stored(from("a"));
  const failing = open.refresh();
  readings[0]?.(new Error("no database"));
  await expect(failing).rejects.toThrow("no database");
  expect(open.limitReached(from("a"))).not.toBeNull();
  const next = open.refresh();
  readings[1]?.([]);
  await next;
  expect(open.limitReached(from("a"))).toBeNull();
});

test("one reading is under way at a time", async () => {
  const { open, readings } = setUp();
  const first = open.refresh();
  await open.refresh();
  expect(readings).toHaveLength(1);
  readings[0]?.([]);
  await first;
});
