import { expect, test } from "vitest";
import { initialAlarm, recentlyOver, stepAlarm } from "../../learning/alarm.ts";
import type { AlarmSettings } from "../../learning/plan.ts";

/** One row a second against threshold 1; R, C, a and . = raised, cleared, active and quiet after each row. */
function run(scores: number[], rowMs = 1000, settings?: AlarmSettings): string {
  let state = initialAlarm;
  return scores
    .map((score, i) => {
      const before = state;
      state = stepAlarm(before, { score, threshold: 1, atMs: 5000 + i * rowMs }, settings);
      if (state.active !== before.active) return state.active ? "R" : "C";
      return state.active ? "a" : ".";
    })
    .join("");
}

const quiet = (rows: number, score = 0.5) => new Array<number>(rows).fill(score);

test("three rows of five over the threshold raise, two do not", () => {
  expect(run([2, 2, 2])).toBe("..R");
  expect(run([2, 0, 2, 0, 2])).toBe("....R");
  expect(run([2, 0, 0, 2, 0, 2])).toBe("......");
  expect(run([2, 2, 0, 0, 0, 2])).toBe("......");
});

test("a score on the threshold is not over it", () => {
  expect(run([1, 1, 1, 1])).toBe("....");
});

test("sixty seconds in which three of every five rows are below 0.8 of the threshold clear", () => {
  expect(run([2, 2, 2, ...quiet(63)])).toBe(`..R${"a".repeat(62)}C`);
  expect(run([2, 2, 2, ...quiet(9)], 10_000)).toBe("..RaaaaaaaaC");
});

test("a row or two between the levels keep no alarm up, a majority or NaNs start the quiet time again", () => {
  expect(run([2, 2, 2, ...quiet(30), 0.9, 2, ...quiet(31)])).toBe(`..R${"a".repeat(62)}C`);
  for (const loud of [0.8, 0.9, Number.NaN]) {
    expect(run([2, 2, 2, ...quiet(60), loud, loud, loud, ...quiet(62)])).toBe(`..R${"a".repeat(125)}`);
  }
});

test("an alarm that was cleared needs three new exceedances, however far apart the rows are", () => {
  expect(run([2, 2, 2, 0, 0, 0, 0, 2, 2, 2], 60_000)).toBe("..RaaaC..R");
});

test("a clock that steps back does not shorten the quiet time", () => {
  let state = [2, 2, 2, 0, 0].reduce((s, score, i) => stepAlarm(s, { score, threshold: 1, atMs: i }), initialAlarm);
  const at = (atMs: number) => {
    state = stepAlarm(state, { score: 0, threshold: 1, atMs });
    return state.active;
  };
  expect([at(100_000), at(50_000), at(109_000), at(110_000)]).toEqual([true, true, true, false]);
});

test("exceedances are remembered for four further rows", () => {
  let state = initialAlarm;
  const remembered = [2, 0, 0, 0, 0, 0].map((score, i) => {
    state = stepAlarm(state, { score, threshold: 1, atMs: i });
    return recentlyOver(state);
  });
  expect(remembered).toEqual([1, 1, 1, 1, 0, 0]);
});

test("what lasts is the default", () => {
  const scores = [2, 2, 2, ...quiet(63)];
  expect(run(scores, 1000, { kind: "lasting" })).toBe(run(scores));
});

const ONSET: AlarmSettings = { kind: "onset", refractoryMs: 10_000 };

test("an onset is told by its first row, and once: more of it within the refractory time is the same alarm", () => {
  expect(run([0, 2, ...quiet(9), 2, ...quiet(10)], 1000, ONSET)).toBe(".RaaaaaaaaaaaaaaaaaaaC");
  expect(run([2, 2, 2, ...quiet(11)], 1000, ONSET)).toBe("RaaaaaaaaaaaC.");
});

test("after the refractory time without a row over the threshold another row raises anew", () => {
  expect(run([2, ...quiet(10), 2, ...quiet(10)], 1000, ONSET)).toBe("RaaaaaaaaaCRaaaaaaaaaC");
  // However long ago: a row that is over goes on with an alarm that no row has cleared.
  expect(run([2, 0.5, 2, 0.5], 60_000, ONSET)).toBe("RCRC");
  expect(run([2, 2, 0.5], 60_000, ONSET)).toBe("RaC");
});

test("without a refractory time an onset's alarm ends with the next row that is not over", () => {
  expect(run([2, 2, 0, 0, 2], 1000, { kind: "onset", refractoryMs: 0 })).toBe("RaC.R");
});

test("an onset needs a score over the threshold: one on it, or no number, neither raises nor prolongs", () => {
  expect(run([1, Number.NaN, 1], 1000, ONSET)).toBe("...");
  expect(run([2, ...quiet(9, 1), Number.NaN], 1000, ONSET)).toBe("RaaaaaaaaaC");
});

test("a clock that steps back does not shorten the refractory time", () => {
  let state = initialAlarm;
  const at = (score: number, atMs: number) => {
    state = stepAlarm(state, { score, threshold: 1, atMs }, ONSET);
    return state.active;
  };
  expect([at(2, 100_000), at(0, 50_000), at(0, 59_999), at(0, 60_000)]).toEqual([true, true, true, false]);
});
