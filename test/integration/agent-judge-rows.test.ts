import { expect, test } from "vitest";
import { type JudgedRow, judgeRows } from "../../agent/judge-rows.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { GATED } from "../support/front-end-plan.ts";
import { openLearner } from "../support/open-learner.ts";
import { smallSettings } from "../support/small-plan.ts";

const PUMPS = cohortId("pumps");
const DAY_MS = 86_400_000;

const settings = (learnFrom: PlanSettings["training"]["learnFrom"], rows = 60): PlanSettings => ({
  ...smallSettings(),
  commissioningRows: 40,
  features: {
    version: 1,
    reference: GATED,
    season: null,
    squash: 1,
    columns: [{ kind: "means", rows: [1, 8] }, { kind: "missing" }],
  },
  threshold: { rule: { kind: "quantile", quantile: 0.99 }, rows },
  training: { ...smallSettings().training, learnFrom, batchRows: 20, triggerRows: 30 },
});

const openCohort = (plan: PlanSettings) => openLearner(PUMPS, plan);

/** So many readings of a device, one a second from `second` on. */
function readings(
  name: string,
  count: number,
  second = 0,
  change: (row: number) => Partial<Record<string, number>> = () => ({}),
): Reading[] {
  const random = seededRandom(second + 1);
  return Array.from({ length: count }, (_, row) => {
    const atMs = 1000 * (second + row);
    const values = { flow: 10 + random.normal(), current: 3 + random.normal(), ...change(row) };
    const given = Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== undefined);
    return {
      deviceId: deviceId(name),
      atMs,
      receivedAtMs: atMs,
      units: new Map(),
      values: new Map(given),
      label: null,
    };
  });
}

const unrefused = () => expect.unreachable("a row was refused");

test("the rows of a device's commissioning are learned too, when it ends", async () => {
  const { cohort, learner, updates } = await openCohort(settings("new_rows"));
  await judgeRows(cohort, readings("pump-1", 39), unrefused);
  expect(learner.due()).toBe(false);
  const judged = await judgeRows(cohort, readings("pump-1", 6, 39), unrefused);
  // Means over 8 rows are told from the eighth row on, which leaves 33; then come five rows of their own.
  expect(judged.map(({ learnable }) => learnable)).toEqual([false, true, true, true, true, true]);
  expect(learner.due()).toBe(true);
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([38]);
});

test("a plan that learns from recent rows goes over all the devices' good rows at every training", async () => {
  const { cohort, learner, updates } = await openCohort(settings("recent_rows", 100));
  await judgeRows(cohort, readings("pump-1", 50), unrefused);
  await judgeRows(cohort, readings("pump-2", 20), unrefused);
  await learner.train();
  await judgeRows(cohort, readings("pump-1", 5, 50), unrefused);
  await learner.train();
  expect(updates).toHaveLength(2);
  const { x, rows } = cohort.devices.get(deviceId("pump-1"))?.monitor?.calibrationFeatures() ?? { x: [], rows: 0 };
  expect([rows, x.length]).toEqual([48, 48 * learner.plan.manifest.featureCount]);
  // Two passes of three batches each, over 43 and over 48 rows.
  expect(updates.map(({ localSteps }) => localSteps)).toEqual([6, 12]);
  // Only new rows make it due again.
  expect(learner.due()).toBe(false);
});

test("what is judged is the mean of the champion's last scores, where the plan says so", async () => {
  const scoresOver = async (trailingRows: number) => {
    const { cohort, activate } = await openCohort({ ...settings("new_rows"), score: { largest: null, trailingRows } });
    await judgeRows(cohort, readings("pump-1", 100), unrefused);
    await activate(2, true);
    const judged = await judgeRows(cohort, readings("pump-1", 20, 100), unrefused);
    return judged.map(({ observation }) => Number(observation?.score));
  };
  const [own, trailing] = [await scoresOver(1), await scoresOver(4)];
  for (const [row, score] of trailing.entries()) {
    const last = own.slice(Math.max(0, row - 3), row + 1);
    expect(score).toBeCloseTo(last.reduce((sum, each) => sum + each, 0) / last.length, 5);
  }
});

test("rows that lack a channel are judged by the champion, in batches as one by one", async () => {
  const gaps = (row: number) => (row % 3 === 0 ? { current: undefined } : {});
  const judgedIn = async (batch: number) => {
    const { cohort, activate } = await openCohort(settings("new_rows"));
    await judgeRows(cohort, readings("pump-1", 100), unrefused);
    await activate(2, true);
    const rows = readings("pump-1", 60, 100, gaps);
    const judged = [];
    for (let at = 0; at < rows.length; at += batch) {
      judged.push(...(await judgeRows(cohort, rows.slice(at, at + batch), unrefused)));
    }
    return judged;
  };
  const one = await judgedIn(1);
  expect(one[0]?.entered.device.kind).toBe("federated");
  expect(one.every(({ observation }) => Number.isFinite(observation?.score))).toBe(true);
  for (const [index, { observation }] of (await judgedIn(7)).entries()) {
    // A run of another number of rows sums its float32 products in another order.
    expect(observation?.score).toBeCloseTo(Number(one[index]?.observation?.score), 5);
    expect(observation?.over).toBe(one[index]?.observation?.over);
  }
});

test("a fault is judged alike in whatever batches its rows come, though it moves what they are told from", async () => {
  const guarded = settings("new_rows");
  const plan: PlanSettings = {
    ...guarded,
    features: {
      ...guarded.features,
      reference: { ...GATED, rollBackRows: 10, adaptation: { upRows: 20, downRows: 50, atMost: 3 } },
    },
    threshold: { ...guarded.threshold, rows: 30 },
    excursion: { clearBelow: 0.8, belowPeak: 0.5, releaseRows: 20, releaseAfterMs: null },
  };
  const judgedIn = async (batch: number) => {
    const { cohort, activate } = await openCohort(plan);
    await activate(2, true);
    const rows = ["pump-1", "pump-2"].flatMap((name) => [
      ...readings(name, 150),
      ...readings(name, 150, 150, (row) => (row < 80 ? { flow: 200 } : {})),
    ]);
    const judged: JudgedRow[] = [];
    for (let at = 0; at < rows.length; at += batch) {
      judged.push(...(await judgeRows(cohort, rows.slice(at, at + batch), unrefused)));
    }
    const of = (name: string) => judged.filter(({ entered }) => entered.device.deviceId === name);
    return [...of("pump-1"), ...of("pump-2")].map(({ observation }) => [observation?.over, observation?.active]);
  };
  const one = await judgedIn(1);
  expect(one.slice(150, 300).filter(([over]) => over).length).toBeGreaterThan(50);
  expect(one.slice(150, 300).filter(([over]) => !over).length).toBeGreaterThan(20);
  expect(await judgedIn(600)).toEqual(one);
  expect(await judgedIn(70)).toEqual(one);
});

test.each([1, -1])(
  "a clock that jumps a day, %d, and back raises no alarm, and what is trained on is what it was",
  async (way) => {
    const jumped = await openCohort({
      ...settings("new_rows"),
      threshold: { rule: { kind: "quantile", quantile: 0.999 }, rows: 60 },
    });
    const steady = await openCohort({
      ...settings("new_rows"),
      threshold: { rule: { kind: "quantile", quantile: 0.999 }, rows: 60 },
    });
    const refused: string[] = [];
    const run = async ({ cohort }: typeof jumped, from: number, aheadMs: number) => {
      const rows = readings("pump-1", 60, from).map((row) => ({ ...row, atMs: row.atMs + aheadMs }));
      return judgeRows(cohort, rows, (_, { refused: kind }) => refused.push(kind));
    };
    for (const each of [jumped, steady]) {
      for (let part = 0; part < 4; part++) await run(each, 60 * part, 2 * DAY_MS);
      await each.activate(2, true);
    }
    const judged: JudgedRow[] = [];
    const expected: JudgedRow[] = [];
    for (const [part, days] of [0, way, way, 0, 0].entries()) {
      judged.push(...(await run(jumped, 60 * (4 + part), (2 + days) * DAY_MS)));
      expected.push(...(await run(steady, 60 * (4 + part), 2 * DAY_MS)));
    }
    expect(judged.filter(({ observation }) => observation?.active)).toEqual([]);
    expect(judged.every(({ entered }) => entered.device.kind === "federated")).toBe(true);
    // Where the clock went back, nineteen rows wait until it is believed; all others give what they would have given.
    expect(refused).toEqual(Array.from({ length: 19 }, () => "out_of_order"));
    const before = way > 0 ? 180 : 60;
    const told = (rows: readonly JudgedRow[]) => rows.slice(0, before).map(({ entered }) => entered.observed?.features);
    expect(told(judged)).toEqual(told(expected));
    const widest = (rows: readonly JudgedRow[]) =>
      Math.max(...rows.flatMap(({ entered }) => [...(entered.observed?.features ?? [])].map(Math.abs)));
    expect(widest(judged)).toBeLessThan(1.5 * widest(expected));
  },
);
