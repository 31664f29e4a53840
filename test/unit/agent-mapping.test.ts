import fc from "fast-check";
import { expect, test } from "vitest";
import { Device } from "../../agent/core/device.ts";
import { channelsOf, type RowClock, rowTime, stepClock } from "../../agent/core/rows.ts";
import { type Reading, readTelemetry } from "../../learning/telemetry/default-mapping.ts";
import { MAX_PAYLOAD_BYTES } from "../../learning/telemetry/message.ts";
import { isRefusal } from "../../learning/telemetry/refusal.ts";
import { rowOf } from "../../learning/telemetry/row-of.ts";

const RECEIVED_MS = Date.parse("2026-11-21T10:00:00Z");
const bytes = (text: string) => new TextEncoder().encode(text);

function read(body: unknown, { topic = "flead/v1/north/pump-1/telemetry", retained = false } = {}) {
  const payload = bytes(typeof body === "string" ? body : JSON.stringify(body));
  return readTelemetry({ topic, payload, retained, receivedAtMs: RECEIVED_MS });
}

function reading(body: unknown): Reading {
  const result = read(body);
  if (isRefusal(result)) throw new Error(result.detail);
  return result;
}

const refusedAs = (body: unknown, options = {}) => {
  const result = read(body, options);
  return isRefusal(result) ? result.refused : "read";
};

test("the three payload shapes give the same row", () => {
  const at = { timestamp: "2026-11-21T09:59:58Z" };
  const shapes = [
    { ...at, telemetry: { flow: { value: 3.5, unit: "l/min", quality: "good" }, current: { value: 1 } } },
    { ...at, flow: 3.5, current: 1 },
    { ...at, device_id: "pump-1", data: { flow: 3.5, current: 1 } },
  ].map(reading);
  for (const shape of shapes) {
    expect(shape.deviceId).toBe("pump-1");
    expect(shape.atMs).toBe(RECEIVED_MS - 2000);
    expect(rowOf(shape, ["current", "flow"], false)).toEqual(Float64Array.of(1, 3.5));
  }
  expect(shapes[0]?.units.get("flow")).toBe("l/min");
});

test.each([
  ["2026-11-21T09:59:58.250Z", RECEIVED_MS - 1750],
  ["2026-11-21T10:59:58+01:00", RECEIVED_MS - 2000],
  ["2026-11-21 09:59:58", RECEIVED_MS - 2000],
  [RECEIVED_MS - 2000, RECEIVED_MS - 2000],
  [RECEIVED_MS / 1000 - 2, RECEIVED_MS - 2000],
  [undefined, RECEIVED_MS],
])("timestamp %s is understood", (timestamp, atMs) => {
  expect(reading({ timestamp, flow: 1 }).atMs).toBe(atMs);
});

test.each([
  ["malformed_json", "{flow: 1}"],
  ["malformed_json", ""],
  ["malformed_json", '{"flow": NaN}'],
  ["too_large", `{"flow": "${"x".repeat(MAX_PAYLOAD_BYTES)}"}`],
  ["wrong_shape", "[1, 2]"],
  ["wrong_shape", "null"],
  ["wrong_shape", { timestamp: "yesterday", flow: 1 }],
  ["wrong_shape", { timestamp: {}, flow: 1 }],
  ["wrong_shape", { timestamp: -5, flow: 1 }],
  ["wrong_shape", { timestamp: "2026-11-21T10:00:00Z" }],
  ["wrong_shape", { telemetry: [1] }],
  ["wrong_shape", { device_id: "pump-2", data: { flow: 1 } }],
])("a message is refused as %s: %j", (kind, body) => {
  expect(refusedAs(body)).toBe(kind);
});

test("retained messages and ids that would break a topic or a path are refused", () => {
  expect(refusedAs({ flow: 1 }, { retained: true })).toBe("retained");
  for (const device of ["..", "", "a b", "x".repeat(65), "$SYS"]) {
    expect(refusedAs({ flow: 1 }, { topic: `insa/devices/${device}/telemetry` })).toBe("invalid_device_id");
  }
});

test("a row needs every channel as a number; channels beyond the plan's are left out", () => {
  const given = reading({ flow: 1, current: 2, note: "ok" });
  expect(rowOf(given, ["flow", "current"], false)).toEqual(Float64Array.of(1, 2));
  expect(rowOf(given, ["flow", "pressure"], false)).toMatchObject({ refused: "missing_channel" });
  for (const value of ["2", null, true, [], "NaN"]) {
    const row = rowOf(reading({ flow: 1, current: value }), ["flow", "current"], false);
    expect(row).toMatchObject({ refused: "bad_value" });
  }
  expect(rowOf(reading('{"flow": 1e999, "current": 2}'), ["flow"], false)).toMatchObject({ refused: "bad_value" });
});

test("where a plan allows it a channel may be absent or null, but neither a wrong value nor a row of nothing", () => {
  const rowFor = (body: object) => rowOf(reading(body), ["flow", "current"], true);
  expect(rowFor({ flow: 1, speed: 3 })).toEqual(Float64Array.of(1, Number.NaN));
  expect(rowFor({ flow: null, current: 2 })).toEqual(Float64Array.of(Number.NaN, 2));
  expect(rowFor({ flow: 1, current: 2 })).toEqual(Float64Array.of(1, 2));
  for (const value of ["2", true, [], "NaN", 1e31]) {
    expect(rowFor({ flow: 1, current: value })).toMatchObject({ refused: "bad_value" });
  }
  expect(rowFor({ flow: null, speed: 3 })).toMatchObject({ refused: "missing_channel" });
});

test("without a plan the channels are the first reading's numbers, never a label", () => {
  const labels = { Anomaly: 1, label: 0, is_anomaly: 0, changepoint: 0, FAULT: 2 };
  const given = reading({ flow: 1, ...labels, state: "on", current: 2 });
  expect(channelsOf(given)).toEqual(["flow", "current"]);
  const wide = reading(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`c${i}`, i])));
  expect(channelsOf(wide)).toHaveLength(64);
  expect(channelsOf(reading({ changepoint: 1 }))).toMatchObject({ refused: "bad_value" });
  expect(refusedAs({ label: 1 })).toBe("wrong_shape");
});

test.each([
  [{ label: 1 }, 1],
  [{ Anomaly: 0 }, 0],
  [{ IS_ANOMALY: true }, 1],
  [{ label: false, anomaly: 0 }, 0],
  [{ label: null, anomaly: 1 }, 1],
  [{ label: { value: 1 } }, 1],
  [{ label: null }, null],
  [{}, null],
])("a reading is labelled by a field at the top or among its channels: %j", (said, label) => {
  for (const body of [
    { flow: 1, ...said },
    { ...said, telemetry: { flow: 1 } },
    { telemetry: { flow: 1, ...said } },
    { data: { flow: 1, ...said } },
  ]) {
    const given = reading(body);
    expect(given).toMatchObject({ label });
    expect([...given.values.keys()]).toEqual(["flow"]);
    expect(given.labelRefusal).toBeUndefined();
  }
});

test.each([{ label: 2 }, { label: "1" }, { anomaly: 0.5 }, { label: [1] }, { label: 1, is_anomaly: 0 }])(
  "a reading with a label that says nothing clear is used without it: %j",
  (said) => {
    const given = reading({ flow: 1, ...said });
    expect(given).toMatchObject({ label: null, labelRefusal: { refused: "bad_label" } });
    expect(rowOf(given, ["flow"], false)).toEqual(Float64Array.of(1));
  },
);

test("a channel name that no plan could have is an extra channel, a unit that can't be printed is none", () => {
  const named = { "a\u0000b": 1, "": 1, " flow": 1, "x\ny": 1, ["x".repeat(65)]: 1, "\ud800": 1 };
  const given = reading({ telemetry: { ...named, "Volume Flow RateRMS": { value: 3, unit: "l/min" } } });
  expect(channelsOf(given)).toEqual(["Volume Flow RateRMS"]);
  expect(channelsOf(reading(named))).toMatchObject({ refused: "bad_value" });
  const device = Device.coldStart(given);
  expect(isRefusal(device) ? device : device.enter(given)).toMatchObject({ extraChannels: 6 });
  const units = reading({
    telemetry: { a: { value: 1, unit: "m\u0000" }, b: { value: 1, unit: "m".repeat(33) } },
  }).units;
  expect(units.size).toBe(0);
});

/** A device's clock, stepped by rows that come at `receivedAtMs`, by default as fast as they were made. */
function clockOfRows() {
  let clock: RowClock | null = null;
  return (atMs: number, receivedAtMs = 1_000_000 + atMs) => {
    const result = stepClock(clock, atMs, receivedAtMs);
    clock = result.clock;
    return result.verdict;
  };
}

test("row time goes forward; a clock that was set back is believed once twenty rows agree", () => {
  const verdicts: string[] = [];
  const clockStep = clockOfRows();
  const step = (atMs: number) => {
    const verdict = clockStep(atMs);
    verdicts.push(verdict);
    return verdict;
  };
  [1000, 2000, 2000, 1500, 3000].forEach(step);
  expect(verdicts).toEqual(["in_order", "in_order", "duplicate_timestamp", "out_of_order", "in_order"]);
  for (let row = 0; row < 19; row++) expect(step(100 + row)).toBe("out_of_order");
  expect(step(119)).toBe("stepped_back");
  expect(step(120)).toBe("in_order");
});

test("old rows that are sent again in bulk are not taken for a clock that was set back, however many they are", () => {
  const step = clockOfRows();
  for (let row = 0; row < 1_000; row++) expect(step(1_000 * row)).toBe("in_order");
  const againAtMs = 2_000_000;
  for (let row = 0; row < 999; row++) expect(step(1_000 * row, againAtMs + 100 * row)).toBe("out_of_order");
  expect(step(1_000_000, againAtMs + 100_000)).toBe("in_order");
});

test("a device that sends its rows in batches, and whose clock was set back, is believed with a later batch", () => {
  const step = clockOfRows();
  const backMs = 3_600_000;
  step(backMs, backMs);
  const batch = (number: number) =>
    Array.from({ length: 60 }, (_, row) => step(60_000 * number + 1_000 * row, backMs + 60_000 * (number + 1)));
  expect(new Set(batch(0))).toEqual(new Set(["out_of_order"]));
  expect(batch(1)).toContain("stepped_back");
  expect(new Set(batch(2))).toEqual(new Set(["in_order"]));
});

test("rows behind that came before the gateway's own clock was set back count no more", () => {
  const step = clockOfRows();
  step(1_000_000, 2_000_000);
  for (let row = 0; row < 19; row++) step(row, 2_000_000 + row);
  for (let row = 19; row < 38; row++) expect(step(row, 1_000 + row)).toBe("out_of_order");
  expect(step(38, 1_038)).toBe("stepped_back");
});

test("rows without a time that arrive in one millisecond are rows of their own, in order", () => {
  const clock = (lastAtMs: number) => ({ lastAtMs, behind: null });
  const arrival = (atMs: number) => ({ atMs, receivedAtMs: atMs });
  expect(rowTime(null, arrival(5000))).toBe(5000);
  expect(rowTime(clock(4999), arrival(5000))).toBe(5000);
  expect(rowTime(clock(5000), arrival(5000))).toBe(5001);
  expect(rowTime(clock(5002), arrival(5000))).toBe(5003);
  // A clock far ahead is not a burst, and a sensor's own time is never touched.
  expect(rowTime(clock(90_000), arrival(5000))).toBe(5000);
  expect(rowTime(clock(5000), { atMs: 5000, receivedAtMs: 5040 })).toBe(5000);
});

test("late rows among live ones never set the clock back", () => {
  let clock: RowClock | null = null;
  for (let row = 0; row < 100; row++) {
    const live = stepClock(clock, 1_000_000 + row, 1_000_000 + row);
    expect(live.verdict).toBe("in_order");
    const late = stepClock(live.clock, row, 1_000_000 + row);
    expect(late.verdict).toBe("out_of_order");
    clock = late.clock;
  }
});

test("no message makes the mapping throw", () => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map(bytes),
    fc.jsonValue().map((value) => bytes(JSON.stringify({ timestamp: value, telemetry: { flow: value }, flow: value }))),
    fc.dictionary(fc.string(), fc.jsonValue()).map((value) => bytes(JSON.stringify(value))),
  );
  const topic = fc.oneof(fc.string(), fc.constant("insa/devices/pump-1/telemetry"));
  fc.assert(
    fc.property(topic, payload, fc.boolean(), (topic, payload, retained) => {
      const result = readTelemetry({ topic, payload, retained, receivedAtMs: RECEIVED_MS });
      if (isRefusal(result)) return;
      expect([0, 1, null]).toContain(result.label);
      const channels = channelsOf(result);
      for (const mayLack of [false, true]) {
        const row = isRefusal(channels) ? channels : rowOf(result, channels, mayLack);
        if (!isRefusal(row)) expect(row.every(Number.isFinite)).toBe(true);
      }
      expect(Number.isFinite(result.atMs)).toBe(true);
      new Date(result.atMs).toISOString();
    }),
    { numRuns: 2000 },
  );
});
