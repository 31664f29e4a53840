import { expect, test } from "vitest";
import { readAgentConfig } from "../../agent/config.ts";
import { batches } from "../../agent/core/batches.ts";
import { cohortOf, parseCohortRules } from "../../agent/core/cohorts.ts";
import { boundedFactor } from "../../agent/core/feedback.ts";
import { PendingRows } from "../../agent/core/pending-rows.ts";
import { RecentScores } from "../../agent/core/recent-scores.ts";
import { Lane } from "../../agent/lane.ts";
import { deviceId } from "../../learning/ids.ts";

test("the first rule that matches gives a device its cohort", () => {
  const rules = parseCohortRules("pumps=pump-*; fans=*-fan-*-x ;one=valve");
  const cohort = (id: string) => cohortOf(deviceId(id), rules);
  expect(["pump-1", "pump-", "north-fan-2-x", "fan-2-x", "valve", "valves", "apump-1"].map(cohort)).toEqual([
    "pumps",
    "pumps",
    "fans",
    null,
    "one",
    null,
    null,
  ]);
  expect(cohortOf(deviceId("aa"), parseCohortRules("x=aa*aa"))).toBeNull();
  expect(() => parseCohortRules("pumps")).toThrow(/"pumps" is not a rule/);
});

test("a wrong setting names its variable and what is allowed", () => {
  expect(readAgentConfig({ FLEAD_GATEWAY_ID: "gw-1", FLEAD_ALERT_PREFIX: "off" })).toMatchObject({
    FLEAD_COHORTS: [{ cohort: "default", pattern: "*" }],
    FLEAD_ALERT_PREFIX: null,
  });
  const wrong = { FLEAD_GATEWAY_ID: "a/b", FLEAD_COHORTS: "pumps", FLEAD_SITE: "+", FLEAD_COORDINATOR: "nowhere" };
  for (const key of Object.keys(wrong)) expect(() => readAgentConfig(wrong)).toThrow(new RegExp(`${key}: .+`));
});

test("rows are divided into as few even batches as the size allows", () => {
  expect(batches(53, 50)).toEqual([
    { from: 0, to: 26 },
    { from: 26, to: 53 },
  ]);
  expect(batches(50, 50)).toEqual([{ from: 0, to: 50 }]);
  expect(batches(1, 50)).toEqual([{ from: 0, to: 1 }]);
});

test("a row's label is the last one said before it left", () => {
  const rows = new PendingRows(2);
  const [first, second, third] = [1, 2, 3].map((value) => rows.add(Float32Array.of(value), 0));
  expect([first?.left, second?.left]).toEqual([true, false]);
  if (second) second.label = 1;
  const taken = rows.take(1);
  expect(taken).toMatchObject({ x: Float32Array.of(2, 3), y: Float32Array.of(1, 0), rows: 2 });
  if (third) third.label = 1;
  expect(taken.y).toEqual(Float32Array.of(1, 0));
  expect(rows.take(1).y).toEqual(Float32Array.of(1, 1));
  rows.learned(taken.upTo);
  expect(third?.left).toBe(true);
});

test("learned rows leave, those that came meanwhile stay, and the oldest leave when there is no room", () => {
  const rows = new PendingRows(4);
  const add = (...values: number[]) => {
    for (const value of values) rows.add(Float32Array.of(value), null);
  };
  add(1, 2, 3);
  const taken = rows.take(1);
  expect(taken).toMatchObject({ x: Float32Array.of(1, 2, 3), y: null, rows: 3 });
  add(4, 5);
  expect(rows.take(1).x).toEqual(Float32Array.of(2, 3, 4, 5));
  rows.learned(taken.upTo);
  expect(rows.take(1).x).toEqual(Float32Array.of(4, 5));
  for (let value = 6; value <= 20; value++) {
    add(value);
    const waiting = [value - 3, value - 2, value - 1, value].filter((each) => each >= 4);
    expect([rows.length, [...rows.take(1).x]]).toEqual([waiting.length, waiting]);
  }
});

test("a learning-rate factor stays within its bounds", () => {
  expect([0, 1.05, 9, Number.NaN, -1].map(boundedFactor)).toEqual([0.1, 1.05, 4, null, 0.1]);
});

test("confidence is the share of recent scores reached, of the last 300", () => {
  const scores = new RecentScores();
  expect(scores.percentile(9)).toBe(0);
  for (let score = 0; score < 400; score++) scores.add(score);
  expect(scores.percentile(99)).toBe(0);
  expect(scores.percentile(400)).toBe(300 / 301);
  expect(new RecentScores(scores.values()).percentile(249)).toBe(150 / 301);
});

test("what runs in a lane never overlaps, and a failure does not stop it", async () => {
  const lane = new Lane();
  const log: string[] = [];
  const task = (name: string) => async () => {
    log.push(`${name} begins`);
    await Promise.resolve();
    log.push(`${name} ends`);
  };
  const first = lane.run(task("a"));
  const failed = lane.run(() => Promise.reject(new Error("no")));
  const last = lane.run(task("b"));
  await expect(failed).rejects.toThrow("no");
  await Promise.all([first, last]);
  expect(log).toEqual(["a begins", "a ends", "b begins", "b ends"]);
});
