import { expect, test } from "vitest";
import { bytesOf, mappingOf, messageOf, readShort } from "../support/mapping.ts";

/** What the payload is read as on topic `plant/a/pump-1/x`. */
function read(settings: string, body: unknown, topic = "plant/a/pump-1/x") {
  const lines = settings.split("\n").map((line) => `    ${line.trim()}`);
  return readShort(mappingOf(`  - topic: plant/{line}/{device}/+\n${lines.join("\n")}`), topic, body);
}

const values = (decode: string, body: unknown, channels = "fields: {}") => {
  const rows = read(`device: "{device}"\ndecode: ${decode}\n${channels}`, body);
  const [first] = rows;
  return typeof first === "object" ? first.values : first;
};

test.each([
  ['"{line}-{device}"', "a-pump-1"],
  ["boiler", "boiler"],
  ["{path: data.id}", "P7"],
  ['{path: data.id, match: "^P(.+)$"}', "7"],
  ['{text: "{topic}", match: "^plant/(.)/"}', "a"],
])("the device is of the topic, the message, or constant: %s", (device, id) => {
  expect(read(`device: ${device}\nchannels: [{name: flow, path: data.f}]`, { data: { id: "P7", f: 3 } })).toMatchObject(
    [{ device: id, values: { flow: 3 } }],
  );
});

test.each([
  ["wrong_shape", "{path: data.id}", { data: { id: {} } }],
  ["wrong_shape", '{path: data.id, match: "^P(.+)$"}', { data: { id: "Q" } }],
  ["invalid_device_id", "{path: data.id}", { data: { id: "  " } }],
  ["invalid_device_id", "{path: data.id}", { data: { id: "x".repeat(257) } }],
])("a message that does not say its device is refused as %s: %s", (kind, device, body) => {
  expect(read(`device: ${device}\nfields: {}`, { ...body, flow: 1 })).toEqual([kind]);
});

test("each decoder gives what paths and channels take", () => {
  expect(values("json", { a: { b: [{ c: 1 }, { c: 2 }] } })).toEqual({ "a.b.0.c": 1, "a.b.1.c": 2 });
  expect(values("number", " 21.5\n", "channels: [{name: t}]")).toEqual({ t: 21.5 });
  expect(values('{kind: string, match: "T=([-0-9.]+)"}', "T=-3.5 C", "channels: [{name: t}]")).toEqual({ t: -3.5 });
  expect(values("boolean", "ON", "channels: [{name: t}]")).toEqual({ t: 1 });
  expect(values("{kind: boolean, true: [open], false: [shut]}", "Shut", "channels: [{name: t}]")).toEqual({ t: 0 });
  const slices = "slices: {t: {at: 0, type: int16be}, h: {at: 2, type: uint8}, f: {at: 3, type: float32le}}";
  const raw = Uint8Array.of(0xff, 0x9c, 55, 0, 0, 0xc0, 0x3f);
  const expected = { t: -100, h: 55, f: 1.5 };
  expect(values(`{kind: bytes, ${slices}}`, raw)).toEqual(expected);
  expect(values(`{kind: bytes, encoding: hex, ${slices}}`, "ff9c370000c03F")).toEqual(expected);
  expect(values(`{kind: bytes, encoding: base64, ${slices}}`, btoa(String.fromCharCode(...raw)))).toEqual(expected);
  const csv = '{kind: csv, separator: ";", columns: [t, null, h, note]}';
  expect(values(csv, '1.5;x;;"a;""b"\n')).toEqual({ t: 1.5 });
});

test.each([
  ["malformed_json", "json", "{"],
  ["malformed_payload", "number", Uint8Array.of(0xff)],
  ["malformed_payload", "{kind: string, match: T}", "none"],
  ["malformed_payload", "boolean", "maybe"],
  ["malformed_payload", "{kind: bytes, slices: {t: {at: 2, type: uint16le}}}", "abc"],
  ["malformed_payload", "{kind: bytes, encoding: hex, slices: {t: {at: 0, type: uint8}}}", "f"],
  ["malformed_payload", "{kind: bytes, encoding: base64, slices: {t: {at: 0, type: uint8}}}", "a"],
  ["malformed_payload", "{kind: csv, columns: [a, b]}", "1"],
  ["malformed_payload", "{kind: csv, columns: [a, b]}", "1,2,3"],
  ["malformed_payload", "{kind: csv, columns: [a, b]}", '1,"2'],
  ["malformed_payload", "{kind: csv, columns: [a, b]}", "1\n,2"],
  ["too_large", "json", `"${"x".repeat(65_536)}"`],
  ["bad_value", "number", "21,5"],
])("a payload is refused as %s by %s", (kind, decode, payload) => {
  expect(read(`device: x\ndecode: ${decode}\nchannels: [{name: t}]`, payload)).toEqual([kind]);
});

test("a value is scaled, shifted, checked against its range, and none where a sentinel stands", () => {
  const channel =
    "{name: t, path: v, unit: °C, scale: 0.1, offset: -40, range: [-40, 125], sentinels: [-127, nan, 65535]}";
  const of = (v: unknown) => values("json", { v }, `channels: [${channel}]`);
  expect(of(615)).toEqual({ t: 21.5 });
  expect(of("615")).toEqual({ t: 21.5 });
  expect(of(1651)).toBe("out_of_range");
  for (const sentinel of [-127, "-127", "nan", 65535, null, undefined]) expect(of(sentinel)).toBe("missing_channel");
  for (const wrong of ["", "x", true, {}, [], "1e999", "0x10"]) expect(of(wrong)).toBe("bad_value");
});

test("a channel that can't be used costs that channel, and is said", () => {
  const mapping = mappingOf(
    '  - topic: "a/{device}"\n    device: "{device}"\n    channels: [{name: t, range: [0, 9], path: t, unit: °C}, {name: p, path: p}]',
  );
  const { readings, refusals } = mapping.read(messageOf("a/b", { t: 10, p: 1 }));
  expect(readings.map((reading) => [...reading.values])).toEqual([[["p", 1]]]);
  expect(refusals).toEqual([{ refused: "out_of_range", detail: "channel t is 10; its valid range is 0 to 9" }]);
  expect([...(mapping.read(messageOf("a/b", { t: 1 })).readings[0]?.units ?? [])]).toEqual([["t", "°C"]]);
});

test("fields take numbers and mapped words below a place, by name or all but some", () => {
  const said = { s: { a: 1, b: { c: 2 }, d: "ON", e: "text", f: true, g: null, "ü ber": 3, "!": 4 }, x: 5 };
  expect(values("json", said, "fields: {under: s, map: {ON: 1, true: 1}, except: [a]}")).toEqual({
    "b.c": 2,
    d: 1,
    f: 1,
    "ü ber": 3,
  });
  expect(values("json", said, "fields: {only: [s.a, x], prefix: q}")).toEqual({ "q.s.a": 1, "q.x": 5 });
  const calibrate = "fields: {only: [x, s.e], calibrate: {x: {scale: 2}, s.e: {sentinels: [text]}}}";
  expect(values("json", said, calibrate)).toEqual({ x: 10 });
});

test("what is fanned out joins to one row a device and time, channels by name from the message", () => {
  const rows = [
    { id: "d1", n: "t", v: 1, at: 1 },
    { id: "d2", n: "t", v: 2, at: 1 },
    { id: "d1", n: "h", v: 3, at: 1 },
    { id: "d1", n: "t", v: 4, at: 2 },
  ];
  const settings = `each: "rows[*]"
    device: {path: id}
    time: {path: at, format: seconds}
    channels: [{name: {path: n}, path: v}, {name: k, path: $.k}]`;
  expect(read(settings, { rows, k: 9 })).toMatchObject([
    { device: "d1", at: "1970-01-01T00:00:01.000Z", values: { t: 1, h: 3, k: 9 } },
    { device: "d2", values: { t: 2, k: 9 } },
    { device: "d1", at: "1970-01-01T00:00:02.000Z", values: { t: 4, k: 9 } },
  ]);
  expect(read(settings, { rows: {} })).toEqual(["wrong_shape"]);
});

test.each([
  ["auto, zone: Europe/Berlin", "2026-07-01T12:00:00", "2026-07-01T10:00:00.000Z"],
  ["auto, zone: Europe/Berlin", "2026-01-01 12:00:00", "2026-01-01T11:00:00.000Z"],
  ["auto, zone: Europe/Berlin", "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z"],
  ["iso, zone: '+05:30'", "2026-01-01T12:00:00.250", "2026-01-01T06:30:00.250Z"],
  ["auto", 1_767_225_600, "2026-01-01T00:00:00.000Z"],
  ["auto", "1767225600000", "2026-01-01T00:00:00.000Z"],
  ["microseconds", 1_767_225_600_000_000, "2026-01-01T00:00:00.000Z"],
  ["nanoseconds", "1767225600000000000", "2026-01-01T00:00:00.000Z"],
  ["dd.MM.yyyy HH:mm:ss, zone: America/New_York", "01.01.2026 00:00:05", "2026-01-01T05:00:05.000Z"],
  ["auto, zone: Europe/Berlin", "2026-03-29T03:30:00", "2026-03-29T01:30:00.000Z"],
  ["auto, zone: Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00.000Z"],
])("a time is read as %s: %s", (format, given, at) => {
  const settings = `device: x\ntime: {path: ts, format: ${format}}\nchannels: [{name: v, path: v}]`;
  expect(read(settings, { ts: given, v: 1 })).toMatchObject([{ at }]);
  expect(read(settings, { v: 1 })).toMatchObject([{ at: "received" }]);
});

test.each(["31.02.2026 00:00:00", "2026-01-01", 5, {}, ""])(
  "a time that is not as the format says is refused: %j",
  (ts) => {
    const settings = `device: x\ntime: {path: ts, format: "dd.MM.yyyy HH:mm:ss"}\nfields: {}`;
    expect(read(settings, { ts, v: 1 })).toEqual(["wrong_shape"]);
  },
);

test("a label is said beside the channels and is never one of them", () => {
  const settings = "device: x\nlabel: {path: truth.state, map: {ok: 0, bad: 1}}\nfields: {map: {ok: 0, bad: 1}}";
  expect(read(settings, { v: 1, truth: { state: "bad" } })).toEqual([
    { device: "x", at: "received", values: { v: 1 }, label: 1 },
  ]);
  expect(read(settings, { v: 1, label: 1, is_anomaly: 0, fault: 3 })).toEqual([
    { device: "x", at: "received", values: { v: 1 } },
  ]);
  for (const label of [1, [1], { value: 1 }, { a: { b: [1] } }]) {
    for (const name of ["Label", "is_anomaly", "changepoint"])
      expect(read("device: x\nfields: {}", { v: 1, [name]: label })).toMatchObject([{ values: { v: 1 } }]);
    const inList = read("device: x\nlabel: {path: 'truth[0]'}\nfields: {}", { v: 1, truth: [1, label] });
    expect(inList).toEqual([{ device: "x", at: "received", values: { v: 1 }, label: 1 }]);
  }
  const unread = mappingOf("  - topic: t\n    device: x\n    label: {path: l}\n    fields: {}").read(
    messageOf("t", { l: 2, v: 1 }),
  );
  expect(unread.readings[0]).toMatchObject({ label: null, labelRefusal: { refused: "bad_label" } });
});

test("topics that no message can come on, or that nobody subscribed to, are refused", () => {
  const mapping = mappingOf('  - topic: "a/{device}/#"\n    except: [a/+/set]\n    device: "{device}"\n    fields: {}');
  const kinds = (topic: string) => readShort(mapping, topic, { v: 1 });
  expect(kinds("a/b")).toMatchObject([{ device: "b" }]);
  expect(kinds("a/b/c/d")).toMatchObject([{ device: "b" }]);
  expect(kinds("a/b/set")).toEqual(["not_mapped"]);
  expect(kinds("a//c")).toEqual(["invalid_device_id"]);
  for (const topic of ["", "a/+/x", "a/#", "a/\0", `a/${"x".repeat(65_536)}`])
    expect(kinds(topic)).toEqual(["invalid_topic"]);
  expect(
    readShort(mappingOf('  - topic: "{device}/#"\n    device: "{device}"\n    fields: {}'), "$SYS/x", { v: 1 }),
  ).toEqual(["not_mapped"]);
});

test("the first subscription of a message's broker reads it; filters are subscribed once, by the higher quality", () => {
  const mapping = mappingOf(
    `  - {topic: "a/{d}", broker: one, device: first, fields: {}, qos: 0}
  - {topic: "a/+", device: second, fields: {}, qos: 2}`,
    ["one", "two"],
  );
  const device = (broker: string) =>
    mapping.read({ ...messageOf("a/b", ""), payload: bytesOf({ v: 1 }), broker }).readings[0]?.deviceId;
  expect([device("one"), device("two")]).toEqual(["first", "second"]);
  expect(mapping.topics("one")).toEqual([{ filter: "a/+", qos: 2 }]);
});
