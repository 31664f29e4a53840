import fc from "fast-check";
import { expect, test } from "vitest";
import { type Excursion, noExcursion, stepExcursion } from "../../learning/excursion.ts";

const SETTINGS = { clearBelow: 0.5, belowPeak: 0.25, releaseRows: 3, releaseAfterMs: null };

/** One row a second; B, R, o and . = began, released, counts as anomalous, counts as normal. */
function run(
  ratios: readonly number[],
  settings: Parameters<typeof stepExcursion>[0] = SETTINGS,
  rowMs = 1000,
): string {
  let state = noExcursion;
  return ratios
    .map((ratio, row) => {
      const step = stepExcursion(settings, state, { ratio, atMs: row * rowMs });
      state = step.state;
      return step.turn === null ? (step.over ? "o" : ".") : step.turn === "began" ? "B" : "R";
    })
    .join("");
}

const high = (rows = 16, ratio = 8) => new Array<number>(rows).fill(ratio);

test("an excursion begins above the threshold and lasts while the score stays above the clearing share", () => {
  expect(run([0.9, 1, 1.1, 0.9, 0.6, 0.5, 0.9, 1.1])).toBe("..Boo..B");
});

test("one that comes back is over by itself; its rows below the share of the peak do not count", () => {
  expect(run([...high(), 2.1, 1.9, 0.4, 0.4])).toBe(`B${"o".repeat(15)}o..R`);
  expect(run([...high(), 2.1, 1.9, 0.4, 2.1])).toBe(`B${"o".repeat(15)}o..B`);
});

test("one that settles elsewhere is released by so many low rows in a row", () => {
  expect(run([...high(), 1.9, 1.9, 2.1, 1.9, 1.9, 1.9, 1.9])).toBe(`B${"o".repeat(15)}..o..RB`);
});

test("a peak is what lasted: one wild row makes no other row low", () => {
  expect(run([...high(16, 2), 1000, ...high(5, 2)])).toBe(`B${"o".repeat(21)}`);
  expect(run([...high(15), 1.9, 1.9, 1.9])).toBe(`B${"o".repeat(17)}`);
});

test("a device that was calm for as many rows has no peak any more", () => {
  expect(run([...high(16, 1.2), 0.4, 0.4, 0.4, 0.2, 0.2, 0.2])).toBe(`B${"o".repeat(15)}......`);
});

test("one whose scores stay high is released when its time is up, and never without one", () => {
  const timed = { ...SETTINGS, releaseAfterMs: 20_000 };
  expect(run(high(23), timed)).toBe(`B${"o".repeat(19)}RBo`);
  expect(run(high(200))).toBe(`B${"o".repeat(199)}`);
});

test("a clock that steps back does not let go early", () => {
  const timed = { ...SETTINGS, releaseAfterMs: 10_000 };
  let state: Excursion = noExcursion;
  const turns = [100_000, 50_000, 59_999, 60_000].map((atMs) => {
    const step = stepExcursion(timed, state, { ratio: 2, atMs });
    state = step.state;
    return step.turn;
  });
  expect(turns).toEqual(["began", null, null, "released"]);
});

test("a score that is no number changes nothing and counts as nothing", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { maxLength: 60 }), (ratios) => {
      const gaps = ratios.flatMap((ratio) => [ratio, Number.NaN]);
      expect(run(gaps).replace(/(.)\./g, "$1")).toBe(run(ratios));
    }),
    { seed: 1 },
  );
});

test("after a release all begins anew", () => {
  expect(run([...high(), 1.9, 1.9, 1.9, 0.9, 1.1, 0.6])).toBe(`B${"o".repeat(15)}..R.Bo`);
});
