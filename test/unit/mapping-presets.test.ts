import { expect, test } from "vitest";
import { mappingPresets } from "../../agent/core/mapping/presets.ts";
import { mappingOf, readShort } from "../support/mapping.ts";

const preset = (name: string, more = "") => mappingOf(`  - preset: ${name}\n${more}`);

test("zigbee2mqtt: a device's state is a row by its friendly name, with numbers and switches", () => {
  const mapping = preset("zigbee2mqtt");
  const state = {
    battery: 97,
    contact: true,
    humidity: 44.72,
    last_seen: "2026-11-21T09:59:58+00:00",
    linkquality: 120,
    power_outage_count: 3,
    state: "ON",
    temperature: 27.34,
    update: { installed_version: 33816645, latest_version: 33816645, state: "idle" },
  };
  expect(readShort(mapping, "zigbee2mqtt/boiler_room", state)).toEqual([
    {
      device: "boiler_room",
      at: "2026-11-21T09:59:58.000Z",
      values: { battery: 97, contact: 1, humidity: 44.72, power_outage_count: 3, state: 1, temperature: 27.34 },
    },
  ]);
  expect(readShort(mapping, "zigbee2mqtt/boiler_room", { last_seen: 1_795_255_198_000, temperature: 1 })).toMatchObject(
    [{ at: "2026-11-21T09:59:58.000Z", values: { temperature: 1 } }],
  );
  for (const topic of ["zigbee2mqtt/bridge/info", "zigbee2mqtt/boiler_room/set"])
    expect(readShort(mapping, topic, state)).toEqual(["not_mapped"]);
});

test("a name that is no device id becomes one that another name does not", () => {
  const mapping = preset("zigbee2mqtt");
  const names = [
    "kitchen lamp",
    "kitchen/lamp",
    "kitchen_lamp",
    "kitchen-lamp",
    "Küchenlampe",
    "厨房",
    "0x00158d0001",
    "x".repeat(200),
  ];
  const ids = names.flatMap((name) =>
    mapping
      .read({
        broker: "default",
        topic: `zigbee2mqtt/${name.replace("/", "\u2215")}`,
        payload: new TextEncoder().encode('{"temperature": 20}'),
        retained: false,
        receivedAtMs: 0,
      })
      .readings.map(({ deviceId }) => deviceId),
  );
  expect(new Set(ids).size).toBe(names.length);
  expect(ids[0]).toMatch(/^kitchen-lamp-[0-9a-f]{8}$/);
  expect(ids.slice(2, 4)).toEqual(["kitchen_lamp", "kitchen-lamp"]);
  for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);
});

test("Tasmota: a channel a sensor and quantity, and each phase of several", () => {
  const said = {
    Time: "2026-11-21T11:00:00",
    ENERGY: { TotalStartTime: "2026-01-01T00:00:00", Total: 3.185, Power: [17, 21], Voltage: 230 },
    DS18B20: { Id: "00000A1B2C3D", Temperature: 20.6 },
    TempUnit: "C",
  };
  const values = {
    "ENERGY.Total": 3.185,
    "ENERGY.Power.0": 17,
    "ENERGY.Power.1": 21,
    "ENERGY.Voltage": 230,
    "DS18B20.Temperature": 20.6,
  };
  expect(readShort(preset("tasmota"), "tele/plug-3/SENSOR", said)).toEqual([
    { device: "plug-3", at: "received", values },
  ]);
  const zoned = preset("tasmota", "    time: {path: Time, zone: Europe/Berlin}\n");
  expect(readShort(zoned, "tele/plug-3/SENSOR", said)).toMatchObject([{ at: "received", values }]);
});

test("Home Assistant statestream: one entity's state a message, words of no state are none", () => {
  const mapping = preset("statestream");
  const read = (entity: string, state: string) => readShort(mapping, `homeassistant/${entity}/state`, state);
  expect(read("sensor/boiler_temperature", "61.5")).toEqual([
    { device: "sensor.boiler_temperature", at: "received", values: { state: 61.5 } },
  ]);
  expect(read("binary_sensor/door", "on")).toMatchObject([{ device: "binary_sensor.door", values: { state: 1 } }]);
  for (const nothing of ["unavailable", "unknown"]) expect(read("sensor/x", nothing)).toEqual(["missing_channel"]);
  expect(read("climate/hall", "heat_cool")).toEqual(["bad_value"]);
});

test("Home Assistant statestream: entities of one device are its channels by a regular expression", () => {
  const mapping = preset(
    "statestream",
    `    device: {text: "{entity}", match: "^(.+)_[a-z]+$"}
    channels: [{name: {text: "{entity}", match: "_([a-z]+)$"}, sentinels: [unavailable]}]\n`,
  );
  expect(readShort(mapping, "homeassistant/sensor/boiler_2_temperature/state", "61.5")).toEqual([
    { device: "boiler_2", at: "received", values: { temperature: 61.5 } },
  ]);
});

test("ThingsBoard gateway: rows of several devices and times in a message", () => {
  const said = {
    "Device A": [
      { ts: 1_795_255_198_000, values: { temperature: 42, humidity: 80, on: true, mode: "auto" } },
      { ts: 1_795_255_199_000, values: { temperature: 43 } },
    ],
    DeviceB: [{ ts: 1_795_255_198_000, values: { temperature: 7 } }],
  };
  expect(readShort(preset("thingsboard"), "v1/gateway/telemetry", said)).toEqual([
    {
      device: expect.stringMatching(/^Device-A-[0-9a-f]{8}$/),
      at: "2026-11-21T09:59:58.000Z",
      values: { temperature: 42, humidity: 80, on: 1 },
    },
    { device: expect.stringMatching(/^Device-A-/), at: "2026-11-21T09:59:59.000Z", values: { temperature: 43 } },
    { device: "DeviceB", at: "2026-11-21T09:59:58.000Z", values: { temperature: 7 } },
  ]);
});

const telegrafMetric = (name: string, fields: object, host = "press-1") => ({
  fields,
  name,
  tags: { host, cpu: "cpu-total" },
  timestamp: 1_795_255_198,
});

test("Telegraf JSON: one metric a message, or a batch whose metrics of one host and time are one row", () => {
  const cpu = telegrafMetric("cpu", { usage_idle: 98.5 });
  const at = "2026-11-21T09:59:58.000Z";
  expect(readShort(preset("telegraf"), "telegraf/press-1/cpu", cpu)).toEqual([
    { device: "press-1", at, values: { "cpu.usage_idle": 98.5 } },
  ]);
  const metrics = [
    cpu,
    telegrafMetric("mem", { used: 5, active: true }),
    telegrafMetric("mem", { used: 6 }, "press-2"),
  ];
  expect(readShort(preset("telegraf-batch"), "telegraf/press-1/cpu", { metrics })).toEqual([
    { device: "press-1", at, values: { "cpu.usage_idle": 98.5, "mem.used": 5, "mem.active": 1 } },
    { device: "press-2", at, values: { "mem.used": 6 } },
  ]);
});

test("the built-in formats are read as without a mapping", () => {
  const said = { timestamp: "2026-11-21T09:59:58Z", telemetry: { flow: { value: 61.2, unit: "l/min" } } };
  const row = { device: "pump-1", at: "2026-11-21T09:59:58.000Z", values: { flow: 61.2 } };
  expect(readShort(preset("flead"), "flead/v1/hall-1/pump-1/telemetry", said)).toEqual([row]);
  expect(readShort(preset("insa"), "insa/devices/pump-1/telemetry", said)).toEqual([row]);
});

test.each(Object.keys(mappingPresets))("preset %s refuses a retained message unless told otherwise", (name) => {
  const topic = preset(name).topics("default").at(-1)?.filter.replaceAll("+", "x") ?? "";
  expect(readShort(preset(name), topic, "{}", true)).toEqual(["retained"]);
});
