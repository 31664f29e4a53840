import { expect, test } from "vitest";
import { MappedSensors } from "../../agent/core/mapping/mapped-sensors.ts";
import { mappingOf, messageOf, RECEIVED_MS } from "../support/mapping.ts";

/** The steady clock; the wall clock goes with it unless a test sets it. */
const time = { steadyMs: RECEIVED_MS };
const open = (subscriptions: string) => new MappedSensors(mappingOf(subscriptions), () => time.steadyMs);
const hear = (sensors: MappedSensors, topic: string, body: unknown, { afterMs = 0, retained = false } = {}) => {
  time.steadyMs = RECEIVED_MS + afterMs;
  return sensors.read({ ...messageOf(topic, body, retained), receivedAtMs: RECEIVED_MS + afterMs });
};
/** What `afterMs` have brought; the wall clock is set meanwhile. */
const dueOf = (sensors: MappedSensors, afterMs: number, setMs = 0) => {
  time.steadyMs = RECEIVED_MS + afterMs;
  return sensors.due(RECEIVED_MS + afterMs + setMs);
};

test("a source that says it is away is said once; its availability may be retained", () => {
  const sensors = open("  - preset: zigbee2mqtt\n  - preset: tasmota");
  const say = (topic: string, body: unknown) => hear(sensors, topic, body, { retained: true });
  const offline = [{ kind: "device_offline", deviceId: "lamp" }];
  expect(say("zigbee2mqtt/lamp/availability", { state: "offline" }).notices).toMatchObject(offline);
  expect(say("zigbee2mqtt/lamp/availability", { state: "offline" }).notices).toEqual([]);
  expect(say("zigbee2mqtt/lamp/availability", { state: "online" }).notices).toEqual([]);
  expect(say("zigbee2mqtt/lamp/availability", { state: "offline" }).notices).toMatchObject(offline);
  expect(say("tele/plug/LWT", "Offline").notices).toMatchObject([{ deviceId: "plug" }]);
  expect(say("tele/plug/LWT", "?").refusals).toMatchObject([{ refused: "wrong_shape" }]);
  expect(sensors.topics("x").map(({ filter }) => filter)).toEqual([
    "zigbee2mqtt/+/availability",
    "tele/+/LWT",
    "zigbee2mqtt/+",
    "tele/+/SENSOR",
  ]);
});

test("availability may be said as a number or a truth value", () => {
  const availability = (more: string) =>
    open(`  - {topic: "a/{d}", device: "{d}", fields: {}, availability: {topic: "a/{d}/up", ${more}}}`);
  const offline = [{ kind: "device_offline", deviceId: "b" }];
  expect(hear(availability('online: ["1"], offline: ["0"]'), "a/b/up", "0").notices).toMatchObject(offline);
  const byPath = availability('path: up, online: ["true"], offline: ["false"]');
  expect(hear(byPath, "a/b/up", { up: false }).notices).toMatchObject(offline);
  expect(hear(byPath, "a/b/up", { up: {} }).refusals).toMatchObject([{ refused: "wrong_shape" }]);
});

const TRUTH = `  - topic: plant/{device}/state
    device: "{device}"
    fields: {}
    labelTopic: {topic: "plant/{device}/truth", map: {ok: 0, broken: 1}}`;

test("what a label topic says of a device holds for its rows until it says something else", () => {
  const sensors = open(TRUTH);
  const label = () => hear(sensors, "plant/p1/state", { flow: 1 }).readings[0]?.label;
  expect(label()).toBeNull();
  hear(sensors, "plant/p1/truth", "broken");
  expect(label()).toBe(1);
  expect(hear(sensors, "plant/p2/state", { flow: 1 }).readings[0]?.label).toBeNull();
  expect(hear(sensors, "plant/p1/truth", "unsure").refusals).toMatchObject([{ refused: "bad_label" }]);
  hear(sensors, "plant/p1/truth", "ok", { retained: true });
  expect(label()).toBe(0);
});

test("another subscription, earlier and wider, does not take a label for a channel", () => {
  const sensors =
    open(`  - {topic: "plant/{device}/{channel}", device: "{device}", decode: number, channels: [{name: "{channel}"}]}
${TRUTH.replace(", map: {ok: 0, broken: 1}", "")}`);
  expect(hear(sensors, "plant/p1/truth", "1").readings).toEqual([]);
  expect(hear(sensors, "plant/p1/flow", "3").readings).toMatchObject([{ label: 1 }]);
});

test("a label topic without words takes 0, 1, true and false", () => {
  const sensors = open(TRUTH.replace(", map: {ok: 0, broken: 1}", ""));
  for (const [word, label] of [
    ["1", 1],
    ["0", 0],
    ["true", 1],
    ["false", 0],
  ] as const) {
    hear(sensors, "plant/p1/truth", word);
    expect(hear(sensors, "plant/p1/state", { flow: 1 }).readings[0]?.label).toBe(label);
  }
});

test("a device that is silent for longer than expected is said once, and again after it spoke", () => {
  const sensors = open('  - {topic: "a/{d}", device: "{d}", fields: {}, expectedIntervalMs: 1000}');
  const silent = (afterMs: number, setMs = 0) => dueOf(sensors, afterMs, setMs).notices;
  hear(sensors, "a/b", { v: 1 });
  expect(silent(2_999, 86_400_000), "a clock that jumps a day says nothing of the device").toEqual([]);
  expect(silent(3_000)).toEqual([]);
  expect(silent(3_001)).toMatchObject([{ kind: "device_silent", deviceId: "b" }]);
  expect(silent(9_000)).toEqual([]);
  hear(sensors, "a/b", { v: 1 }, { afterMs: 9_000 });
  expect(silent(12_001)).toHaveLength(1);
});

test("partial messages are aligned to rows", () => {
  const sensors = open(`  - preset: statestream
    device: boiler
    channels: [{name: "{entity}"}]
    partial: true
    expectedIntervalMs: 1000`);
  for (const [afterMs, entity, state] of [
    [100, "temperature", "61"],
    [300, "pressure", "4.1"],
    [1_200, "temperature", "62"],
  ] as const)
    expect(hear(sensors, `homeassistant/sensor/${entity}/state`, state, { afterMs }).readings).toEqual([]);
  const rows = dueOf(sensors, 2_500).readings;
  expect(rows.map(({ deviceId, values }) => [deviceId, Object.fromEntries(values)])).toEqual([
    ["boiler", { temperature: 62, pressure: 4.1 }],
  ]);
});
