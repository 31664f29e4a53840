// Drift of a champion on a live stream, window by window.
import { expect, test } from "vitest";
import { type Drift, stepDrift } from "../../coordinator/core/drift.ts";

const SETTINGS = { drop: 0.1, windows: 2 };

/** The turns of a champion whose windows were of these qualities. */
function turns(qualities: readonly (number | null)[], settings = SETTINGS) {
  let drift: Drift | null = null;
  return qualities.map((quality) => {
    const step = stepDrift(drift, { championVersion: 3, quality }, settings);
    drift = step.drift;
    return step.turn;
  });
}

test("a champion has drifted after so many windows in a row below its first quality by more than the drop", () => {
  expect(turns([0.8, 0.65, 0.65])).toEqual([null, null, "drifted"]);
  expect(turns([0.8, 0.65, 0.75, 0.65, 0.65])).toEqual([null, null, null, null, "drifted"]);
  expect(turns([0.8, 0.71, 0.71, 0.71])).toEqual([null, null, null, null]);
});

test("it has drifted once, until a window is back within half the drop", () => {
  const wavering = [0.8, 0.6, 0.6, 0.72, 0.6, 0.74, 0.6];
  expect(turns(wavering)).toEqual([null, null, "drifted", null, null, null, null]);
  expect(turns([0.8, 0.6, 0.6, 0.76, 0.6, 0.6])).toEqual([null, null, "drifted", "recovered", null, "drifted"]);
});

test("a window that was not measured says nothing, neither of the reference nor of the fall", () => {
  expect(turns([null, 0.8, 0.6, null, 0.6])).toEqual([null, null, null, null, "drifted"]);
  expect(stepDrift(null, { championVersion: 3, quality: null }, SETTINGS).drift).toMatchObject({ reference: null });
});

test("another champion begins anew", () => {
  const before = { championVersion: 3, quality: 0.5, reference: 0.8, windowsBelow: 4, drifted: true };
  const after = { championVersion: 4, quality: 0.5, reference: 0.5, windowsBelow: 0, drifted: false };
  expect(stepDrift(before, { championVersion: 4, quality: 0.5 }, SETTINGS)).toEqual({ drift: after, turn: null });
});

test("the reference stays the first one, whatever comes", () => {
  let drift: Drift | null = null;
  for (const quality of [0.8, 0.9, 0.6, 0.85])
    ({ drift } = stepDrift(drift, { championVersion: 3, quality }, SETTINGS));
  expect(drift).toMatchObject({ reference: 0.8, quality: 0.85 });
});
