import fc from "fast-check";
import { expect, test } from "vitest";
import type { Mapping } from "../../agent/core/mapping/mapping.ts";
import { isChannelName, isLabel } from "../../learning/channels.ts";
import { deviceId } from "../../learning/ids.ts";
import { bytesOf, mappingOf, messageOf } from "../support/mapping.ts";

const PAYLOADS = 100_000;

/** Nothing thrown; whatever it became, it is bounded, said, and fit to go on. */
function holds(mapping: Mapping, topic: string, payload: Uint8Array): void {
  const { readings, refusals } = mapping.read(messageOf(topic, payload));
  if (readings.length === 0 && refusals.length === 0) throw new Error("neither readings nor a reason");
  if (readings.length > 1_000) throw new Error(`${readings.length} readings`);
  for (const { detail } of refusals)
    if (detail.length > 2_000) throw new Error(`a reason of ${detail.length} characters`);
  for (const reading of readings) {
    deviceId(reading.deviceId);
    if (!Number.isFinite(reading.atMs) || reading.values.size === 0 || reading.values.size > 256)
      throw new Error(`at ${reading.atMs}, ${reading.values.size} values`);
    for (const [name, value] of reading.values)
      if (!isChannelName(name) || isLabel(name) || !Number.isFinite(value)) throw new Error(`${name}: ${value}`);
  }
}

/** Bytes of all kinds, and of payloads that are almost right. */
function payloads(right: readonly (string | Uint8Array)[]): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    of: fc.nat(right.length - 1),
    at: fc.nat(),
    put: fc.uint8Array({ maxLength: 3 }),
    cut: fc.nat(4),
  });
  const changed = change.map(({ of, at, put, cut }) => {
    const bytes = bytesOf(right[of]);
    const from = at % (bytes.length + 1);
    return Uint8Array.from([...bytes.slice(0, from), ...put, ...bytes.slice(from + cut)]);
  });
  return fc.oneof(
    { weight: 3, arbitrary: changed },
    fc.uint8Array({ maxLength: 40 }),
    fc.string({ maxLength: 20 }).map(bytesOf),
  );
}

const json = [
  '{"r":[{"id":"d","n":"t","v":1.5,"at":1,"l":0},{"id":"d","v":{"a":[1]}}]}',
  '{"__proto__":{"x":1},"r":[{"id":"..","constructor":2}]}',
];
const device = 'topic: "x/{d}", device: "{d}"';

test.each([
  [
    "json",
    `- {topic: x/1, device: {path: id}, each: "r[*]", time: {path: at}, label: {path: l}, channels: [{name: {path: n}, path: v}], fields: {map: {true: 1}}}`,
    json,
  ],
  ["number", `- {${device}, decode: number, channels: [{name: v, scale: 1e300}]}`, ["21.5", "-1e30", "1e308"]],
  [
    "string",
    `- {${device}, decode: {kind: string, match: "T=(.*?)C"}, channels: [{name: v, sentinels: [x]}]}`,
    ["T=21C", "T=xC"],
  ],
  ["boolean", `- {${device}, decode: boolean, channels: [{name: v}]}`, ["on", "FALSE"]],
  [
    "bytes",
    `- {${device}, decode: {kind: bytes, slices: {a: {at: 0, type: float64le}, b: {at: 3, type: int16be}}}, fields: {}}`,
    [new Uint8Array(8)],
  ],
  [
    "bytes as hex",
    `- {${device}, decode: {kind: bytes, encoding: hex, slices: {a: {at: 1, type: float32be}}}, fields: {}}`,
    ["00112233445566"],
  ],
  [
    "bytes as base64",
    `- {${device}, decode: {kind: bytes, encoding: base64, slices: {a: {at: 1, type: float32be}}}, fields: {}}`,
    ["AAECAwQFBg=="],
  ],
  [
    "csv",
    `- {${device}, decode: {kind: csv, columns: [t, a, b]}, time: {path: t}, fields: {}}`,
    ['1,2,"3"', '2026-01-01,"a ""b""",'],
  ],
] as const)("whatever bytes come, decoder %s gives rows that are fit or a reason", (_, subscription, right) => {
  const mapping = mappingOf(`  ${subscription}`);
  fc.assert(
    fc.property(payloads(right), (payload) => holds(mapping, "x/1", payload)),
    { numRuns: PAYLOADS },
  );
  for (const payload of right) expect(() => holds(mapping, "x/1", bytesOf(payload))).not.toThrow();
});

test("whatever topic a message comes on, it gives rows that are fit or a reason", () => {
  const mapping =
    mappingOf(`  - {topic: "{a}/+/{b}", except: [x/y/z], device: "{b}", decode: number, channels: [{name: "{a}"}]}
  - {topic: "#", device: "{topic}", decode: number, channels: [{name: v}]}`);
  const level = fc.oneof(
    fc.constantFrom("", "+", "#", "$SYS", "..", "label", "x", "\0"),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const topics = fc.oneof(
    { weight: 9, arbitrary: fc.array(level, { maxLength: 5 }).map((levels) => levels.join("/")) },
    fc.string({ unit: "binary", maxLength: 80 }),
  );
  fc.assert(
    fc.property(topics, (topic) => holds(mapping, topic, bytesOf("1"))),
    { numRuns: PAYLOADS },
  );
  for (const topic of ["x".repeat(65_536), "/".repeat(65_536), "é".repeat(1_024)]) holds(mapping, topic, bytesOf("1"));
});

test("the largest payloads are read in bounded time and to a bounded number of readings", () => {
  const deep = mappingOf("  - {topic: x, device: d, fields: {}}");
  holds(deep, "x", bytesOf(`${"[".repeat(30_000)}1${"]".repeat(30_000)}`));
  holds(deep, "x", bytesOf(`{${Array.from({ length: 5_000 }, (_, at) => `"k${at}":1`).join()}}`));
  const wide = mappingOf('  - {topic: x, device: {path: i}, each: "[*]", channels: [{name: v, path: v}]}');
  const many = JSON.stringify(Array.from({ length: 3_000 }, (_, i) => ({ i, v: 1 })));
  const { readings, refusals } = wide.read(messageOf("x", many));
  expect([readings.length, refusals.map(({ refused }) => refused)]).toEqual([1_000, ["too_large"]]);
});
