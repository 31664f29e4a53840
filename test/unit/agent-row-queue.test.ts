import { expect, test } from "vitest";
import { Cohort } from "../../agent/cohort.ts";
import { RowQueue } from "../../agent/row-queue.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";

const cohort = new Cohort(cohortId("pumps"), 0, () => false);
const rowOf = (atMs: number, channels: number) => ({
  cohort,
  reading: {
    deviceId: deviceId("pump-1"),
    atMs,
    receivedAtMs: atMs,
    values: new Map(Array.from({ length: channels }, (_, channel) => [`c${channel}`, 1] as const)),
    units: new Map<string, string>(),
    label: null,
  },
});
const timesOf = (rows: readonly { readonly reading: { readonly atMs: number } }[]) =>
  rows.map(({ reading }) => reading.atMs);

test("beyond its rows the oldest leaves", () => {
  const queue = new RowQueue(2, 100);
  expect([1, 2, 3, 4].flatMap((atMs) => timesOf(queue.add(rowOf(atMs, 1))))).toEqual([1, 2]);
  expect(queue.length).toBe(2);
});

test("beyond its values as many of the oldest leave as it takes, and what was taken counts no more", () => {
  const queue = new RowQueue(100, 10);
  for (const atMs of [1, 2, 3]) expect(queue.add(rowOf(atMs, 3))).toEqual([]);
  expect(timesOf(queue.add(rowOf(4, 6)))).toEqual([1, 2]);
  expect([...queue.take(9).values()].flat()).toHaveLength(2);
  expect(queue.add(rowOf(5, 10))).toEqual([]);
  expect(timesOf(queue.add(rowOf(6, 11))), "one that does not fit at all leaves itself").toEqual([5, 6]);
  expect(queue.length).toBe(0);
});
