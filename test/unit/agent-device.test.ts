import { expect, test } from "vitest";
import { Device, type EnteredRow, type Judged } from "../../agent/core/device.ts";
import { deviceId } from "../../learning/ids.ts";
import type { FeatureSettings, Manifest } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { gatedFeatures, manifestOf } from "../support/front-end-plan.ts";
import { featuresOf } from "../support/plan-settings.ts";

/** Rows of a new device without a plan, one a second. */
function coldStart(values: readonly number[]): Judged[] {
  const device = new Device(deviceId("pump-1"), [{ name: "flow", unit: "l/min" }]);
  return values.map((value, second) => {
    const atMs = second * 1000;
    const reading = { deviceId: device.deviceId, atMs, receivedAtMs: atMs, units: new Map(), label: null };
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

const WINDOW = { kind: "window", rows: 1 } as const;
const MISSING = { kind: "missing" } as const;

/** A device of two channels, c0 and c1, under a plan with these features. */
function planned(features: FeatureSettings, commissioningRows = 40): Device {
  const plan = manifestOf({ features, commissioningRows });
  const device = new Device(deviceId("pump-1"), plan.channels);
  device.adoptPlan(plan);
  return device;
}

const readingOf = (values: Readonly<Record<string, number>>, second: number): Reading => ({
  deviceId: deviceId("pump-1"),
  atMs: 1000 * second,
  receivedAtMs: 1000 * second,
  units: new Map(),
  values: new Map(Object.entries(values)),
  label: null,
});

function entered(device: Device, values: Readonly<Record<string, number>>, second: number): EnteredRow {
  const row = device.enter(readingOf(values, second));
  if (isRefusal(row)) throw new Error(row.detail);
  return row;
}

test("no false alarm puts a forest's threshold above the scores that a row can have", () => {
  const shape = { trees: 20, subsampleRows: 32 };
  const thresholdOf = (model: Manifest["model"], operatorFactor: number, ruleThreshold: number) => {
    const plan = { ...manifestOf({ features: featuresOf(WINDOW), commissioningRows: 40 }), model };
    const device = new Device(deviceId("pump-1"), plan.channels);
    device.adoptPlan(plan);
    for (let second = 0; second < 140; second++)
      device.judgeByOwnRows(entered(device, { c0: second % 3, c1: second % 5 }, second));
    device.monitor?.calibrate(new Float32Array(100).fill(ruleThreshold));
    device.operatorFactor = operatorFactor;
    const judged = device.judgeByModel(entered(device, { c0: 1, c1: 1 }, 140), 0.4, Float32Array.of(1, 1));
    return judged.observation?.threshold;
  };
  const forest = { kind: "isolation_forest", ...shape } as const;
  expect(thresholdOf(forest, 1.2, 0.5)).toBeCloseTo(0.6, 6);
  expect(thresholdOf(forest, 2, 0.5)).toBe(0.65);
  expect(thresholdOf(forest, 2, 0.75)).toBe(0.75);
  expect(thresholdOf({ kind: "dense_autoencoder", hidden: [2] }, 2, 0.5)).toBe(1);
});

test("a row that lacks a channel is refused, unless the plan has columns that say so", () => {
  const strict = planned(featuresOf(WINDOW));
  expect(strict.enter(readingOf({ c0: 1 }, 0))).toMatchObject({ refused: "missing_channel" });
  const device = planned(featuresOf(WINDOW, MISSING));
  expect(device.enter(readingOf({ speed: 1 }, 0))).toMatchObject({ refused: "missing_channel" });
  const row = entered(device, { c0: 1 }, 1);
  expect(row.row).toEqual(Float64Array.of(1, Number.NaN));
  expect(row.filled).toEqual(Float64Array.of(1, 0));
});

test("the device's own detectors take a missing channel's last reading, also after a restart", () => {
  const device = planned(featuresOf(WINDOW, MISSING));
  entered(device, { c0: 1, c1: 7 }, 0);
  expect(entered(device, { c0: 2 }, 1).filled).toEqual(Float64Array.of(2, 7));
  const again = Device.restore(structuredClone(device.record()), manifestOf({ features: featuresOf(WINDOW, MISSING) }));
  for (const each of [device, again]) expect(entered(each, { c0: 3 }, 2).filled).toEqual(Float64Array.of(3, 7));
  expect(again.record()).toEqual(device.record());
});

test("a channel's first reading, however late, is no event to the device's own detectors", () => {
  const device = planned(featuresOf(WINDOW, MISSING));
  const random = seededRandom(7);
  const over = Array.from({ length: 200 }, (_, second) => {
    const late = second < 100 ? {} : { c1: 1e6 + random.normal() };
    return device.judgeByOwnRows(entered(device, { c0: random.normal(), ...late }, second)).observation;
  });
  expect(over[99]).not.toBeNull();
  // They begin anew with the channel, and have warmed up again after 30 rows.
  expect(over.slice(100, 130).every((observation) => observation === null)).toBe(true);
  expect(over.slice(130).some((observation) => observation?.over)).toBe(false);
});

test("an observation names the channels that its row lacks", () => {
  const device = planned(featuresOf(WINDOW, MISSING));
  const seen = Array.from({ length: 60 }, (_, second) => {
    const values = second % 2 === 0 ? { c0: second % 5, c1: second % 3 } : { c0: second % 5 };
    return device.judgeByOwnRows(entered(device, values, second)).observation?.missing;
  });
  expect(seen.slice(-2)).toEqual([[], ["c1"]]);
});

test("channels beyond the plan's are counted, whichever of its own are missing", () => {
  const device = planned(featuresOf(WINDOW, MISSING));
  expect(entered(device, { c0: 1, c1: 2, speed: 3 }, 0).extraChannels).toBe(1);
  expect(entered(device, { c0: 1, speed: 3, torque: 4 }, 1).extraChannels).toBe(2);
  expect(entered(device, { c0: 1 }, 2).extraChannels).toBe(0);
});

test("the features of commissioning are told once, with the row that ends it", () => {
  const told = (features: FeatureSettings) => {
    const device = planned(features);
    const rows = Array.from({ length: 60 }, (_, second) => {
      const row = entered(device, { c0: second % 3, c1: second % 5 }, second);
      device.judgeByOwnRows(row);
      return row;
    });
    return rows.flatMap(({ commissioned }, second) => (commissioned ? [[second, commissioned.length / 2]] : []));
  };
  // The window of a gated baseline's plan has features from the first row on; a normaliser's plan has none until then.
  expect(told(gatedFeatures({}, WINDOW))).toEqual([[39, 40]]);
  expect(told(featuresOf(WINDOW))).toEqual([[39, 0]]);
});

test("a record of a version that kept no last readings goes on, and is whole when it is written again", () => {
  const { last, ...older } = planned(featuresOf(WINDOW)).record();
  expect(last).toHaveLength(2);
  const device = Device.restore(older, null);
  expect(entered(device, { c0: 1, c1: 2 }, 0).filled).toEqual(Float64Array.of(1, 2));
  expect(device.record().last).toEqual(Float64Array.of(1, 2));
});
