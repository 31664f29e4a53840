import { expect, test } from "vitest";
import { describeTrial, judgeCandidate } from "../../agent/core/try-model.ts";

const NO_LABELS: readonly (0 | 1)[] = [];
const unlabelled = (normal: Float32Array) => ({ normal, labelled: new Float32Array(0) });
/** Scores of many rows, each its own. */
const rows = (count: number, scoreOf: (row: number) => number) =>
  Float32Array.from({ length: count }, (_, r) => scoreOf(r));

function trialOf(measure: "ratio" | "difference", active: Float32Array, candidate: Float32Array) {
  return judgeCandidate(measure, { active: unlabelled(active), candidate: unlabelled(candidate) }, NO_LABELS);
}

test("errors that more than doubled on half of the rows are clearly worse, errors that doubled are not", () => {
  const active = rows(200, (row) => 0.2 + row / 100);
  const times = (factor: number) =>
    trialOf(
      "ratio",
      active,
      active.map((score) => factor * score),
    );
  expect(times(2.1)).toMatchObject({ measure: "ratio", rows: 200, labelledRows: 0, labelledChange: null, worse: true });
  expect(times(2.1)?.change).toBeCloseTo(2.1, 5);
  expect(times(1.9)?.worse).toBe(false);
  expect(times(0.5)?.worse).toBe(false);
});

test("a third of the rows can't make a model clearly worse, however bad it is on them", () => {
  const active = rows(300, () => 0.5);
  const candidate = rows(300, (row) => (row % 3 === 0 ? 1e6 : 0.5));
  expect(trialOf("ratio", active, candidate)).toMatchObject({ change: 1, worse: false });
});

test("rows are compared with themselves: devices whose scores lie far apart count alike", () => {
  const active = rows(300, (row) => (row < 140 ? 100 : 0.2));
  const candidate = rows(300, (row) => (row < 140 ? 90 : 1));
  expect(trialOf("ratio", active, candidate)?.worse).toBe(true);
});

test("errors that are next to nothing in a device's own scales are alike", () => {
  expect(
    trialOf(
      "ratio",
      rows(200, () => 0),
      rows(200, () => 0.09),
    ),
  ).toMatchObject({ change: 1, worse: false });
  expect(
    trialOf(
      "ratio",
      rows(200, () => 0),
      rows(200, () => 0.3),
    )?.worse,
  ).toBe(true);
});

test("probabilities and isolation scores are clearly worse when they rose by more than a fifth of their range", () => {
  const active = rows(200, () => 0.4);
  expect(
    trialOf(
      "difference",
      active,
      rows(200, () => 0.65),
    )?.worse,
  ).toBe(true);
  expect(
    trialOf(
      "difference",
      active,
      rows(200, () => 0.55),
    )?.worse,
  ).toBe(false);
  expect(
    trialOf(
      "difference",
      rows(200, () => 0.001),
      rows(200, () => 0.1),
    )?.worse,
  ).toBe(false); // a hundred times
});

test("fewer than a hundred normal rows, or scores that are no numbers, try nothing", () => {
  expect(
    trialOf(
      "ratio",
      rows(99, () => 1),
      rows(99, () => 50),
    ),
  ).toBeNull();
  expect(
    trialOf(
      "ratio",
      rows(100, () => 1),
      rows(100, () => 50),
    )?.worse,
  ).toBe(true);
  expect(
    trialOf(
      "ratio",
      rows(200, () => Number.NaN),
      rows(200, () => 50),
    ),
  ).toBeNull();
  expect(
    trialOf(
      "ratio",
      rows(200, () => 1),
      rows(200, () => Number.POSITIVE_INFINITY),
    ),
  ).toBeNull();
});

test("labelled rows are enough: a model that misses the few anomalies is clearly worse, though they are few", () => {
  const labels = Array.from({ length: 40 }, (_, row): 0 | 1 => (row < 4 ? 1 : 0));
  const said = (onAnomaly: number, onNormal: number) => ({
    normal: new Float32Array(0),
    labelled: Float32Array.from(labels, (label) => (label === 1 ? onAnomaly : onNormal)),
  });
  const judged = (onAnomaly: number, onNormal: number) =>
    judgeCandidate("difference", { active: said(0.9, 0.1), candidate: said(onAnomaly, onNormal) }, labels);
  expect(judged(0.1, 0.1)).toMatchObject({ rows: 0, change: null, labelledRows: 40, worse: true });
  expect(judged(0.1, 0.1)?.labelledChange).toBeCloseTo(0.4, 5);
  expect(judged(0.8, 0.15)?.worse).toBe(false);
});

test("fewer than twenty labelled rows say nothing", () => {
  const labels = Array.from({ length: 19 }, (): 0 | 1 => 1);
  const all = (probability: number) => ({ normal: new Float32Array(0), labelled: rows(19, () => probability) });
  expect(judgeCandidate("difference", { active: all(1), candidate: all(0) }, labels)).toBeNull();
});

test("a trial is told in words, as far as it was made", () => {
  const trial = {
    measure: "ratio",
    rows: 200,
    change: 7.5,
    labelledRows: 0,
    labelledChange: null,
    worse: true,
  } as const;
  expect(describeTrial(trial)).toBe("its scores of 200 normal rows are 7.50 times the active one's");
  expect(describeTrial({ ...trial, measure: "difference", change: 0.25, labelledRows: 30, labelledChange: 0.3 })).toBe(
    "its scores of 200 normal rows are 0.25 more than the active one's, its error on 30 labelled rows is 0.30 more",
  );
});
