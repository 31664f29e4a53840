import fc from "fast-check";
import { expect, test } from "vitest";
import {
  EVENT_RULES,
  type EventRules,
  type Interval,
  matchEvents,
  runsOf,
  summariseEvents,
} from "../../learning/events.ts";

const at = (begin: number, end: number): Interval => ({ begin, end });
const rules: EventRules = { toleranceRows: 5, lookBackRows: 3 };
const match = (events: Interval[], episodes: Interval[], given: EventRules = rules) =>
  matchEvents({ events, episodes, rules: given });

test("events and episodes are maximal runs, at the edges too", () => {
  expect(runsOf([1, 1, 0, 0, 1, 0, 1])).toEqual([at(0, 2), at(4, 5), at(6, 7)]);
  expect(runsOf([0, 0])).toEqual([]);
  expect(runsOf(new Uint8Array(0))).toEqual([]);
});

test("the delay is from the event's begin to the first alarm row", () => {
  const outcome = match([at(100, 150), at(300, 350)], [at(112, 120), at(140, 160), at(349, 351)]);
  expect(outcome).toEqual({
    events: 2,
    luckyEvents: 0,
    episodes: 3,
    trueEpisodes: 3,
    delayRows: [12, 49],
    delayS: null,
  });
});

test("an alarm within the look-back is there at once, one that was up for longer was there by luck", () => {
  const event = [at(100, 150)];
  expect(match(event, [at(97, 110)])).toMatchObject({ delayRows: [0], luckyEvents: 0, trueEpisodes: 1 });
  expect(match(event, [at(96, 110)])).toMatchObject({ delayRows: [], luckyEvents: 1, trueEpisodes: 0 });
  // It fell before the event: false, whenever it began.
  expect(match(event, [at(98, 100)])).toMatchObject({ delayRows: [], luckyEvents: 0, trueEpisodes: 0 });
});

test("a lucky alarm does not stand in the way of a real one", () => {
  const outcome = match([at(100, 150)], [at(50, 104), at(120, 130)]);
  expect(outcome).toMatchObject({ delayRows: [20], luckyEvents: 0, episodes: 2, trueEpisodes: 1 });
});

test("an alarm that starts soon after an event is late but not false, and finds nothing", () => {
  expect(match([at(100, 150)], [at(154, 160)])).toMatchObject({ delayRows: [], luckyEvents: 0, trueEpisodes: 1 });
  expect(match([at(100, 150)], [at(155, 160)])).toMatchObject({ delayRows: [], trueEpisodes: 0 });
});

test("always-alarm finds nothing, unless any overlap is asked for", () => {
  const always = [at(0, 1000)];
  const events = [at(100, 150), at(400, 500)];
  expect(summariseEvents([match(events, always)])).toMatchObject({ precision: 0, recall: 0, f1: 0, luckyEvents: 2 });
  const overlap = { toleranceRows: 0, lookBackRows: Number.POSITIVE_INFINITY };
  expect(summariseEvents([match(events, always, overlap)])).toMatchObject({ precision: 1, recall: 1, f1: 1 });
});

test("an alarm left up from one event is luck for the next", () => {
  const outcome = match([at(100, 150), at(200, 250)], [at(110, 210)]);
  expect(outcome).toMatchObject({ delayRows: [10], luckyEvents: 1, trueEpisodes: 1 });
});

test("seconds come from the rows' times, gaps and all", () => {
  const atMs = Float64Array.from({ length: 20 }, (_, row) => 1_700_000_000_000 + row * 1000 + (row >= 12 ? 60_000 : 0));
  const outcome = matchEvents({ events: [at(10, 18)], episodes: [at(13, 15)], atMs, rules });
  expect(outcome.delayS).toEqual([63]);
  expect(() => matchEvents({ events: [at(10, 18)], episodes: [at(13, 15)], atMs: atMs.subarray(0, 12) })).toThrow(
    RangeError,
  );
});

test("series are pooled by their counts, and the median is over all detections", () => {
  const first = { ...match([at(100, 150)], [at(104, 110), at(300, 310)]), delayS: [4] };
  const second = { ...match([at(50, 60), at(80, 90)], [at(50, 52), at(86, 87)]), delayS: [0, 6] };
  const third = match([at(10, 20)], []);
  // 3 of 4 events, 3 of 4 episodes; delays 4, 0 and 6 rows; a series that detected nothing needs no times.
  expect(summariseEvents([first, second, third])).toEqual({
    events: 4,
    detectedEvents: 3,
    luckyEvents: 0,
    episodes: 4,
    trueEpisodes: 3,
    precision: 0.75,
    recall: 0.75,
    f1: 0.75,
    delayMedianRows: 4,
    delayMedianS: 4,
  });
  expect(summariseEvents([second]).delayMedianRows).toBe(3);
  expect(summariseEvents([first, { ...second, delayS: null }]).delayMedianS).toBeNull();
});

test("what nobody could measure is null, and a miss is zero", () => {
  const score = (events: Interval[], episodes: Interval[]) => summariseEvents([match(events, episodes)]);
  const nulls = { delayMedianRows: null, delayMedianS: null };
  expect(score([], [])).toMatchObject({ precision: null, recall: null, f1: null, ...nulls });
  expect(score([at(1, 2)], [])).toMatchObject({ precision: null, recall: 0, f1: 0, ...nulls });
  expect(score([], [at(1, 2)])).toMatchObject({ precision: 0, recall: null, f1: 0, ...nulls });
  expect(summariseEvents([])).toMatchObject({ events: 0, precision: null, recall: null, f1: null, ...nulls });
});

test("intervals that are empty or out of order and negative rules are refused", () => {
  expect(() => match([at(3, 3)], [])).toThrow(RangeError);
  expect(() => match([at(3, 9), at(8, 10)], [])).toThrow(RangeError);
  expect(() => match([], [at(-1, 2)])).toThrow(RangeError);
  expect(() => match([], [at(0, Number.NaN)])).toThrow(RangeError);
  expect(() => match([], [], { ...EVENT_RULES, lookBackRows: -1 })).toThrow(RangeError);
});

const flags = fc.array(fc.constantFrom(0, 0, 0, 1, 1), { minLength: 1, maxLength: 60 });

/** Row by row from the definition, without intervals of its own. */
function bruteForceDetections(labels: number[], alarms: number[], lookBack: number): number[] {
  const delays: number[] = [];
  for (let begin = 0; begin < labels.length; begin++) {
    if (!labels[begin] || labels[begin - 1]) continue;
    for (let row = begin; labels[row]; row++) {
      let start = row;
      while (alarms[start - 1]) start--;
      if (!alarms[row] || start < begin - lookBack) continue;
      delays.push(row - begin);
      break;
    }
  }
  return delays;
}

test("detections agree with the definition taken row by row", () => {
  fc.assert(
    fc.property(flags, flags, fc.integer({ min: 0, max: 6 }), (labels, alarms, lookBackRows) => {
      const outcome = match(runsOf(labels), runsOf(alarms), { toleranceRows: 2, lookBackRows });
      expect(outcome.delayRows).toEqual(bruteForceDetections(labels, alarms, lookBackRows));
    }),
    { seed: 1, numRuns: 500 },
  );
});

test("perfect alarms score 1 without delay, and more look-back or tolerance never makes a score worse", () => {
  fc.assert(
    fc.property(flags, flags, fc.nat(5), fc.nat(5), (labels, alarms, lookBackRows, toleranceRows) => {
      const events = runsOf(labels);
      const perfect = summariseEvents([match(events, events)]);
      if (events.length > 0) expect(perfect).toMatchObject({ precision: 1, recall: 1, f1: 1, delayMedianRows: 0 });
      const strict = match(events, runsOf(alarms), { toleranceRows, lookBackRows });
      const lenient = match(events, runsOf(alarms), {
        toleranceRows: toleranceRows + 1,
        lookBackRows: lookBackRows + 1,
      });
      expect(lenient.delayRows.length).toBeGreaterThanOrEqual(strict.delayRows.length);
      expect(lenient.trueEpisodes).toBeGreaterThanOrEqual(strict.trueEpisodes);
      expect(strict.delayRows.length + strict.luckyEvents).toBeLessThanOrEqual(strict.events);
    }),
    { seed: 2 },
  );
});
