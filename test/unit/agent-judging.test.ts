// The queue of readings before the judge: what waits, when more is let in, and what is judged before a word on it is heard.
import { expect, test } from "vitest";
import { Cohort } from "../../agent/cohort.ts";
import { Judging } from "../../agent/judging.ts";
import { Lane } from "../../agent/lane.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";

const DEFAULT = cohortId("default");
/** From here on readers are to wait, and the oldest leave. */
const [CALM, MOST] = [2_000, 10_000];

function open() {
  const cohorts = new Map([[DEFAULT, new Cohort(DEFAULT, 0, () => false)]]);
  const refused = new Map<string, number>();
  const lane = new Lane();
  const judging = new Judging({
    cohorts,
    rules: [{ cohort: DEFAULT, pattern: "pump-*" }],
    lane,
    steadyMs: () => 0,
    onJudged: () => undefined,
    onRefused: (_, refusal) => refused.set(refusal.refused, (refused.get(refusal.refused) ?? 0) + 1),
    onLate: () => undefined,
    onFailed: (_, error) => expect.unreachable(error.message),
    onBatch: () => undefined,
  });
  let rows = 0;
  const add = (count: number, device = "pump-1") => {
    for (let row = 0; row < count; row++) judging.add(reading(device, ++rows * 1_000));
  };
  return { judging, lane, refused, add };
}

const reading = (device: string, atMs: number): Reading => ({
  deviceId: deviceId(device),
  atMs,
  receivedAtMs: atMs,
  values: new Map([["flow", atMs % 7]]),
  units: new Map(),
  label: null,
});

test("readers wait while two batches wait, and are let in as they are judged", async () => {
  const { judging, add, refused } = open();
  add(CALM - 1);
  expect(judging.whenCalm()).toBeNull();
  add(1);
  const calm = judging.whenCalm();
  expect(calm).not.toBeNull();
  await calm;
  expect(judging.waiting).toBeLessThan(CALM);
  await judging.idle();
  expect([judging.judged, judging.waiting, refused.size]).toEqual([CALM, 0, 0]);
});

test("a message of very many rows drops the oldest, counted, and a reading of no cohort is refused", async () => {
  const { judging, add, refused } = open();
  add(MOST + 5);
  add(1, "fan-1");
  await judging.idle();
  expect(judging.judged).toBe(MOST);
  expect(refused).toEqual(
    new Map([
      ["queue_full", 5],
      ["no_cohort", 1],
    ]),
  );
});

test("in the lane all that waits can be judged at once", async () => {
  const { judging, lane, add } = open();
  add(CALM + 500);
  await lane.run(() => judging.judgeWaiting());
  expect(judging.judged).toBe(CALM + 500);
});

test("readers that wait are let go when what waits is dropped", async () => {
  const { judging, add } = open();
  add(CALM);
  const calm = judging.whenCalm();
  judging.drop();
  await calm;
  expect(judging.waiting).toBe(0);
});
