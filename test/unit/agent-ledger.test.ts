import { expect, test } from "vitest";
import { type DayBytes, noBytes, withheld } from "../../agent/core/day-bytes.ts";
import { Ledger } from "../../agent/ledger.ts";

const NOON_MS = Date.parse("2026-01-31T12:00:00Z");
const DAY_MS = 86_400_000;

function open(budgetBytes: number | null = null) {
  const saved = new Map<string, DayBytes>();
  const clock = { nowMs: NOON_MS };
  let next = noBytes;
  let failing = false;
  const store = {
    day: (day: string) => saved.get(day) ?? noBytes,
    save: (day: string, bytes: DayBytes) => {
      if (failing) throw new Error("disk full");
      saved.set(day, bytes);
    },
  };
  const meter = {
    take: () => {
      const since = next;
      next = noBytes;
      return since;
    },
  };
  const start = () => new Ledger({ store, meter, budgetBytes, nowMs: () => clock.nowMs });
  const carry = (bytes: Partial<DayBytes>) => {
    next = { ...noBytes, ...bytes };
  };
  return { saved, clock, start, carry, fail: (fails: boolean) => (failing = fails) };
}

test("a day goes on after a restart, and the next day begins with nothing", () => {
  const { saved, clock, start, carry } = open();
  const ledger = start();
  carry({ coordinatorSent: 100, flashWritten: 4096 });
  ledger.save(true);
  const again = start();
  carry({ coordinatorSent: 11 });
  expect(again.today()).toMatchObject({ day: "2026-01-31", coordinatorSent: 111, flashWritten: 4096 });
  clock.nowMs += DAY_MS;
  carry({ coordinatorSent: 5 });
  expect(again.today()).toMatchObject({ day: "2026-02-01", coordinatorSent: 5 });
  again.save();
  expect(saved.get("2026-01-31")?.coordinatorSent).toBe(111);
  expect(saved.get("2026-02-01")?.coordinatorSent).toBe(5);
});

test("it is saved every five minutes, and a save that failed is made up for", () => {
  const { saved, clock, start, carry, fail } = open();
  const ledger = start();
  carry({ brokerSent: 1 });
  ledger.save();
  expect(saved.size).toBe(0);
  clock.nowMs += DAY_MS;
  fail(true);
  expect(() => ledger.save()).toThrow("disk full");
  fail(false);
  ledger.save();
  expect(saved.get("2026-01-31")?.brokerSent).toBe(1);
});

test("a clock that was set back to a day that was begun goes on with it", () => {
  const { clock, start, carry } = open();
  const ledger = start();
  carry({ brokerSent: 3 });
  ledger.save(true);
  clock.nowMs += DAY_MS;
  ledger.save();
  clock.nowMs -= DAY_MS;
  expect(ledger.today().brokerSent).toBe(3);
});

test("summaries wait from four fifths of the budget on, updates when it is spent, both ways counted", () => {
  const carried = (coordinatorSent: number, coordinatorReceived: number) =>
    withheld({ ...noBytes, coordinatorSent, coordinatorReceived, brokerSent: 1e9 }, 1000);
  expect(carried(400, 399)).toEqual([]);
  expect(carried(400, 400)).toEqual(["summaries"]);
  expect(carried(500, 499)).toEqual(["summaries"]);
  expect(carried(500, 500)).toEqual(["summaries", "updates"]);
  expect(withheld({ ...noBytes, coordinatorSent: 1e12 }, null)).toEqual([]);
});

test("what was withheld may go the next day", () => {
  const { clock, start, carry } = open(1000);
  const ledger = start();
  carry({ coordinatorSent: 1000 });
  expect(ledger.withheld()).toEqual(["summaries", "updates"]);
  clock.nowMs += DAY_MS;
  expect(ledger.withheld()).toEqual([]);
});
