import { expect, test } from "vitest";
import {
  type FleetStatistics,
  type GatewayStatistics,
  isUsableFleet,
  noFleet,
  poolDevices,
  poolGateways,
  sameFleet,
} from "../../learning/fleet.ts";
import { QuantileSketch } from "../../learning/sketch.ts";
import { quantile } from "../../learning/threshold.ts";
import { FLEET_QUANTILE, fleetDevice, fleetPlan } from "../support/fleet-plan.ts";
import { pumpPlan } from "../support/plan-settings.ts";

const CHANNELS = fleetPlan.channels.length;

/** A gateway of three devices. */
function gateway(number: number, plan = fleetPlan): GatewayStatistics {
  const devices = [0, 1, 2].map((device) => fleetDevice(10 * number + device));
  const told = poolDevices(plan, devices, number);
  if (told === null) throw new Error("the gateway has nothing to tell");
  return told;
}

const honest = Array.from({ length: 8 }, (_, number) => gateway(number));

/** Says that every scale and every score ratio is so many times what it is. */
function liar(number: number, times: number): GatewayStatistics {
  const ratios = QuantileSketch.empty({ k: 64, tail: 64, seed: number });
  for (let i = 1; i <= 1000; i++) ratios.add((times * i) / 1000);
  return { devices: 3, scales: new Float64Array(CHANNELS).fill(times), ratios };
}

const channelValues = (rows: readonly Float64Array[], channel: number) => rows.map((row) => Number(row[channel]));

test("a gateway tells the median of its devices' scales and one sketch of all their score ratios", () => {
  const devices = [1, 2, 3].map((seed) => fleetDevice(seed));
  const told = poolDevices(fleetPlan, devices, 7);
  for (let channel = 0; channel < CHANNELS; channel++) {
    const values = channelValues(
      devices.map(({ scales }) => scales),
      channel,
    );
    expect(told?.scales?.[channel]).toBe(quantile(values, 0.5));
  }
  const ratios = devices.flatMap(({ scores }) => Array.from(scores, (score) => score / quantile(scores, 0.5)));
  expect(told).toMatchObject({ devices: 3, ratios: { count: 1200 } });
  // Rank ⌈.999 · 1200⌉ = 1199 of 1200.
  expect(told?.ratios?.quantile(FLEET_QUANTILE)).toBe(Math.fround(Number(ratios.toSorted((a, b) => b - a)[1])));
});

test("what a gateway tells of 300 devices stays below 2 KB", () => {
  const devices = Array.from({ length: 300 }, (_, seed) => fleetDevice(seed));
  expect(poolDevices(fleetPlan, devices, 1)?.ratios?.serialise().byteLength).toBeLessThan(2048);
});

test("a plan is told of what it asks for, and nothing else", () => {
  const devices = [fleetDevice(1)];
  expect(poolDevices(pumpPlan, devices, 1)).toBeNull();
  expect(poolDevices({ ...fleetPlan, features: pumpPlan.features }, devices, 1)).toMatchObject({ scales: null });
  expect(poolDevices({ ...fleetPlan, threshold: pumpPlan.threshold }, devices, 1)).toMatchObject({ ratios: null });
  expect(poolGateways(pumpPlan, honest)).toEqual(noFleet);
  expect(poolGateways({ ...fleetPlan, features: pumpPlan.features }, honest).scales).toBeNull();
  expect(poolGateways({ ...fleetPlan, threshold: pumpPlan.threshold }, honest).thresholdFactor).toBeNull();
});

test("nobody, and devices that can tell nothing, tell nothing", () => {
  expect(poolDevices(fleetPlan, [], 1)).toBeNull();
  const mute = { scales: new Float64Array(CHANNELS), scores: new Float32Array(400) };
  expect(poolDevices(fleetPlan, [mute], 1)).toBeNull();
  const known = fleetDevice(3);
  const both = poolDevices(fleetPlan, [mute, known], 1);
  expect(both?.scales).toEqual(known.scales);
  expect(both?.ratios?.count).toBe(400);
  expect(poolGateways(fleetPlan, [])).toEqual(noFleet);
});

test("the fleet's scales are medians of one voice a gateway, its factor the quantile of all their ratios", () => {
  const { scales, thresholdFactor } = poolGateways(fleetPlan, honest);
  const told = honest.map((each) => each.scales ?? new Float64Array());
  for (let channel = 0; channel < CHANNELS; channel++) {
    const values = channelValues(told, channel).toSorted((a, b) => a - b);
    expect(scales?.[channel]).toBe(values[(values.length - 1) >> 1]);
  }
  const ratios = Array.from({ length: 24 }, (_, i) => fleetDevice(10 * Math.floor(i / 3) + (i % 3)).scores).flatMap(
    (scores) => Array.from(scores, (score) => score / quantile(scores, 0.5)),
  );
  // Rank ⌈.999 · 9600⌉ = 9591: the tenth from above.
  expect(thresholdFactor).toBe(Math.fround(Number(ratios.toSorted((a, b) => b - a)[9])));
});

test("the order of gateways changes nothing", () => {
  const fleet = poolGateways(fleetPlan, honest);
  expect(poolGateways(fleetPlan, honest.toReversed())).toEqual(fleet);
  expect(poolGateways(fleetPlan, [...honest.slice(3), ...honest.slice(0, 3)])).toEqual(fleet);
});

test("of two gateways the smaller scale counts: a floor that is too low leaves devices as they are, one too high blinds", () => {
  const { scales } = poolGateways(fleetPlan, [honest[0] ?? liar(1, 1), liar(100, 1e6)]);
  expect(scales).toEqual(honest[0]?.scales);
});

test("one gateway alone gives a factor and no scales", () => {
  const { scales, thresholdFactor } = poolGateways(fleetPlan, honest.slice(0, 1));
  expect(scales).toBeNull();
  expect(thresholdFactor).toBe(honest[0]?.ratios?.quantile(FLEET_QUANTILE));
  expect(poolGateways(fleetPlan, honest.slice(0, 2)).scales).not.toBeNull();
});

test.each([1e-6, 1e6])("a fifth of gateways that lie by a factor of %d sets neither scales nor factor", (times) => {
  const fleet = poolGateways(fleetPlan, [...honest, liar(100, times), liar(101, times)]);
  expect(fleet.thresholdFactor).toBe(poolGateways(fleetPlan, honest).thresholdFactor);
  for (let channel = 0; channel < CHANNELS; channel++) {
    const values = channelValues(
      honest.map((each) => each.scales ?? new Float64Array()),
      channel,
    );
    expect(fleet.scales?.[channel]).toBeGreaterThanOrEqual(Math.min(...values));
    expect(fleet.scales?.[channel]).toBeLessThanOrEqual(Math.max(...values));
  }
});

test("a minority that lies as far as it is believed moves the factor less than fourfold", () => {
  const { thresholdFactor } = poolGateways(fleetPlan, honest);
  const believed = 3.5 * Number(thresholdFactor);
  const moved = poolGateways(fleetPlan, [...honest, liar(100, believed), liar(101, believed)]).thresholdFactor;
  expect(Number(moved) / Number(thresholdFactor)).toBeLessThan(4);
});

test("fleet statistics are usable when they fit the plan's channels and are finite and positive", () => {
  const fleet: FleetStatistics = { scales: new Float64Array(CHANNELS).fill(2), thresholdFactor: 3 };
  expect([fleet, noFleet].map((each) => isUsableFleet(fleetPlan, each))).toEqual([true, true]);
  const broken: FleetStatistics[] = [
    { ...fleet, scales: new Float64Array(CHANNELS + 1).fill(2) },
    { ...fleet, scales: new Float64Array(CHANNELS) },
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map((thresholdFactor) => ({ ...fleet, thresholdFactor })),
  ];
  for (const each of broken) expect(isUsableFleet(fleetPlan, each)).toBe(false);
});

test("fleet statistics are the same when they say the same", () => {
  const fleet = poolGateways(fleetPlan, honest);
  expect(sameFleet(fleet, poolGateways(fleetPlan, honest))).toBe(true);
  expect(sameFleet(fleet, noFleet)).toBe(false);
  expect(sameFleet(fleet, { ...fleet, thresholdFactor: 1 })).toBe(false);
  expect(sameFleet(fleet, { ...fleet, scales: fleet.scales?.map((scale) => 2 * scale) ?? null })).toBe(false);
});
