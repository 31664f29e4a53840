import { expect, test } from "vitest";
import { Device } from "../../agent/core/device.ts";
import { recentFeatures } from "../../agent/core/recent-features.ts";
import { deviceId } from "../../learning/ids.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { gatedFeatures, manifestOf } from "../support/front-end-plan.ts";

const plan = manifestOf({ channelCount: 1, features: gatedFeatures({}, { kind: "window", rows: 1 }) });

/** A device that has seen so many rows, and the features of all but the refused. */
function deviceAfter(rows: number, name: string): Device {
  const device = new Device(deviceId(name), plan.channels);
  device.adoptPlan(plan);
  for (let second = 0; second < rows; second++) {
    const atMs = 1000 * second;
    const values = new Map([["c0", (second * 7) % 13]]);
    const row = device.enter({
      deviceId: device.deviceId,
      atMs,
      receivedAtMs: atMs,
      units: new Map(),
      values,
      label: null,
    });
    if (isRefusal(row)) throw new Error(row.detail);
    device.judgeByOwnRows(row);
  }
  return device;
}

const featuresOfDevice = (device: Device) => [...(device.monitor?.calibrationFeatures().x ?? [])];

test("all the recent good rows of every device, one device after the other, oldest first", () => {
  const devices = [deviceAfter(45, "a"), deviceAfter(90, "b")];
  const { x, rows } = recentFeatures(devices, 1, 1000);
  expect(rows).toBe(135);
  expect([...x]).toEqual(devices.flatMap(featuresOfDevice));
});

test("a device keeps no more of them than the plan says", () => {
  expect(recentFeatures([deviceAfter(250, "a")], 1, 1000).rows).toBe(plan.threshold.rows);
});

test("devices that are still being commissioned, or have no plan, have nothing to be learned", () => {
  const devices = [deviceAfter(39, "a"), new Device(deviceId("b"), plan.channels)];
  expect(recentFeatures(devices, 1, 1000)).toEqual({ x: new Float32Array(0), rows: 0 });
  expect(recentFeatures([], 1, 1000).rows).toBe(0);
  const ready = deviceAfter(60, "c");
  expect([...recentFeatures([...devices, ready], 1, 60).x]).toEqual(featuresOfDevice(ready));
});

test("where not all fit, every device gets the same share, its newest", () => {
  const devices = [deviceAfter(45, "a"), deviceAfter(90, "b"), deviceAfter(41, "c")];
  const { x, rows } = recentFeatures(devices, 1, 31);
  expect(rows).toBe(30);
  expect([...x]).toEqual(devices.flatMap((device) => featuresOfDevice(device).slice(-10)));
  expect(recentFeatures(devices, 1, 2).rows).toBe(2);
});
