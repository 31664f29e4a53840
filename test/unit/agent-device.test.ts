import { expect, test } from "vitest";
import { Device, type Judged } from "../../agent/core/device.ts";
import { isRefusal } from "../../agent/core/refusal.ts";
import { deviceId } from "../../learning/ids.ts";
import { seededRandom } from "../../learning/random.ts";

/** Rows of a new device without a plan, one a second. */
function coldStart(values: readonly number[]): Judged[] {
  const device = new Device(deviceId("pump-1"), [{ name: "flow", unit: "l/min" }]);
  return values.map((value, second) => {
    const atMs = second * 1000;
    const reading = { deviceId: device.deviceId, atMs, receivedAtMs: atMs, units: new Map() };
    const entered = device.enter({ ...reading, values: new Map([["flow", value]]) });
    if (isRefusal(entered)) throw new Error(entered.detail);
    return device.judgeByOwnRows(entered);
  });
}

test("the first rows after the warm-up are as sure as the warm-up rows make them", () => {
  const random = seededRandom(5);
  const warmUp = Array.from({ length: 30 }, () => random.normal());
  const judged = coldStart([...warmUp, 0, 50]);
  expect(judged.slice(0, 30).every(({ observation }) => observation === null)).toBe(true);
  const [usual, far] = judged.slice(30).map(({ observation }) => observation?.confidence);
  expect(usual).toBeLessThan(0.3);
  expect(far).toBe(31 / 32);
});

test("outliers of the warm-up are not part of what is normal", () => {
  const random = seededRandom(6);
  const warmUp = Array.from({ length: 30 }, (_, row) => (row % 10 === 9 ? 1000 : random.normal()));
  const judged = coldStart([...warmUp, 500]);
  expect(judged.at(-1)?.observation).toMatchObject({ over: true, confidence: 27 / 28 });
});
