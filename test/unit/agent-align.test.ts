import fc from "fast-check";
import { expect, test } from "vitest";
import { Aligner } from "../../agent/core/align.ts";
import { deviceId } from "../../learning/ids.ts";

const SETTINGS = { rowEveryMs: 1_000, staleAfterMs: 3_000 };
const START_MS = 1_000_000;

class Bench {
  readonly aligner = new Aligner();

  say(
    atMs: number,
    values: object,
    { device = "d", settings = SETTINGS, receivedAtMs = START_MS + atMs, label = null as 0 | 1 | null } = {},
  ) {
    const reading = {
      deviceId: deviceId(device),
      atMs: START_MS + atMs,
      receivedAtMs,
      values: new Map(Object.entries(values)),
      units: new Map(),
      label,
    };
    return this.aligner.add(reading, settings, receivedAtMs)?.refused ?? null;
  }

  rows(nowMs: number) {
    return this.aligner.due({ wallMs: START_MS + nowMs, steadyMs: START_MS + nowMs });
  }

  due(nowMs: number) {
    return this.rows(nowMs).map(({ atMs, values }) => [atMs - START_MS, Object.fromEntries(values)]);
  }
}

test("values that come one by one become rows at even times, of each channel's last value", () => {
  const bench = new Bench();
  bench.say(100, { flow: 1 });
  bench.say(400, { current: 10 });
  bench.say(1_100, { flow: 2 });
  bench.say(1_900, { current: 20 });
  expect(bench.due(2_499)).toEqual([]); // the first row waits for every channel to have spoken, and for what is late
  expect(bench.due(2_500)).toEqual([[2_000, { flow: 2, current: 20 }]]);
  bench.say(2_600, { flow: 3 });
  expect(bench.due(3_500)).toEqual([[3_000, { flow: 3, current: 20 }]]);
});

test("a channel that is stale is missing, and a device that is silent has no rows until it speaks", () => {
  const bench = new Bench();
  bench.say(0, { flow: 1, current: 10 });
  bench.say(2_500, { flow: 2 });
  expect(bench.due(4_500).map(([, values]) => values)).toEqual([
    { flow: 1, current: 10 },
    { flow: 1, current: 10 },
    { flow: 2, current: 10 },
    { flow: 2 },
  ]);
  expect(bench.due(100_000).map(([atMs]) => atMs)).toEqual([5_000]);
  bench.say(200_300, { flow: 5 });
  expect(bench.due(201_500)).toEqual([[201_000, { flow: 5 }]]);
});

test("a channel that speaks faster than rows come is in each of them, by its last value before it", () => {
  const bench = new Bench();
  const rows: unknown[] = [];
  for (let atMs = 1; atMs <= 5_500; atMs++) {
    bench.say(atMs, { fast: atMs });
    rows.push(...bench.due(atMs));
  }
  expect(rows).toEqual([2_000, 3_000, 4_000, 5_000].map((atMs) => [atMs, { fast: atMs }]));
});

test("what comes late but before its row is in it; what is older than a row's value is refused", () => {
  const bench = new Bench();
  bench.say(900, { flow: 1 });
  bench.say(2_100, { flow: 3 }, { receivedAtMs: START_MS + 2_100 });
  expect(bench.say(1_950, { flow: 2 })).toBeNull();
  expect(bench.due(2_500)).toEqual([[2_000, { flow: 2 }]]);
  expect(bench.say(1_000, { flow: 9 })).toBe("out_of_order");
  bench.say(2_900, { current: 1 });
  expect(bench.due(3_500)).toEqual([[3_000, { flow: 3, current: 1 }]]);
});

test("rows follow the device's clock, and a time far ahead is refused", () => {
  const bench = new Bench();
  const behindMs = 3_600_000;
  bench.say(0, { flow: 1 }, { receivedAtMs: START_MS + behindMs });
  bench.say(900, { flow: 2 }, { receivedAtMs: START_MS + behindMs + 900 });
  expect(bench.due(behindMs + 1_499)).toEqual([]);
  expect(bench.due(behindMs + 1_500)).toEqual([[1_000, { flow: 2 }]]);
  expect(bench.say(400_000, { flow: 1 }, { receivedAtMs: START_MS })).toBe("out_of_order");
});

test("rows wait by a clock that nobody sets: a wall clock that jumps a day makes none", () => {
  const bench = new Bench();
  bench.say(900, { flow: 1 });
  bench.say(1_900, { flow: 2 });
  const at = (steadyMs: number, jumpMs: number) =>
    bench.aligner.due({ wallMs: START_MS + steadyMs + jumpMs, steadyMs: START_MS + steadyMs });
  expect([...at(2_000, 86_400_000), ...at(2_499, -86_400_000)]).toEqual([]);
  expect(at(2_500, -86_400_000)).toMatchObject([
    { atMs: START_MS + 2_000, receivedAtMs: START_MS + 2_500 - 86_400_000 },
  ]);
});

test("a label is of the row of its time", () => {
  const bench = new Bench();
  bench.say(0, { flow: 1 });
  bench.say(1_500, { flow: 1 }, { label: 1 });
  bench.say(3_500, { flow: 1 });
  expect(bench.rows(4_500).map(({ label }) => label)).toEqual([null, 1, null, null]);
});

test("a clock that was set back is believed after 20 readings", () => {
  const bench = new Bench();
  bench.say(10_000, { flow: 1 });
  expect(bench.due(11_500)).toHaveLength(1);
  const late = Array.from({ length: 20 }, (_, at) =>
    bench.say(at, { flow: at }, { receivedAtMs: START_MS + 12_000 + at }),
  );
  expect(new Set(late)).toEqual(new Set(["out_of_order"]));
  expect(bench.say(100, { flow: 7 }, { receivedAtMs: START_MS + 12_100 })).toBeNull();
});

test("old readings that are sent again in bulk set no clock back", () => {
  const bench = new Bench();
  for (let second = 0; second < 60; second++) bench.say(1_000 * second, { flow: second });
  bench.due(60_500);
  const again = Array.from({ length: 59 }, (_, second) =>
    bench.say(1_000 * second, { flow: second }, { receivedAtMs: START_MS + 61_000 + second }),
  );
  expect(new Set(again)).toEqual(new Set(["out_of_order"]));
  bench.say(61_500, { flow: 61 });
  expect(bench.due(63_000).map(([atMs]) => atMs)).toEqual([61_000, 62_000]);
});

test("a device that is away is forgotten", () => {
  const bench = new Bench();
  bench.say(0, { flow: 1 });
  bench.aligner.forget(deviceId("d"));
  expect(bench.due(10_000)).toEqual([]);
});

test("a flood of devices and channels is capped, and says so", () => {
  const bench = new Bench();
  for (let device = 0; device < 2_000; device++) expect(bench.say(0, { a: 1 }, { device: `d${device}` })).toBeNull();
  expect(bench.say(0, { a: 1 }, { device: "one-more" })).toBe("device_limit");
  expect(bench.say(0, Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`c${at}`, 1])), { device: "d1" })).toBe(
    "too_large",
  );
});

test("whatever times values have, rows go forward in even steps with values that were said", () => {
  const event = fc.record({
    at: fc.integer({ min: -10_000, max: 400_000 }),
    in: fc.nat(5_000),
    channel: fc.constantFrom("a", "b"),
    every: fc.constantFrom(100, 1_000, 7_000),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 19 }), (events) => {
      const bench = new Bench();
      let nowMs = 0;
      let lastMs = Number.NEGATIVE_INFINITY;
      for (const { at, in: inMs, channel, every } of events) {
        nowMs += inMs;
        bench.say(
          at,
          { [channel]: at },
          { receivedAtMs: START_MS + nowMs, settings: { rowEveryMs: every, staleAfterMs: 2 * every } },
        );
        for (const [atMs, values] of bench.due(nowMs) as [number, Record<string, number>][]) {
          expect(atMs).toBeGreaterThan(lastMs);
          lastMs = atMs;
          for (const value of Object.values(values)) expect(value).toBeLessThanOrEqual(atMs);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
