import fc from "fast-check";
import { expect, test } from "vitest";
import type { Mapping } from "../../agent/core/mapping/mapping.ts";
import { Payload } from "../../proto/gen/sparkplug/sparkplug.ts";
import { bytesOf, mappingOf, messageOf, RECEIVED_MS, readShort } from "../support/mapping.ts";
import {
  boolean,
  double,
  int,
  long,
  metric,
  nodeBirth,
  nodeDeath,
  payload,
  pumpBirth,
  TYPES,
} from "../support/sparkplug.ts";

const AT = "2026-11-21T09:59:58.000Z";
const open = () => mappingOf("  - preset: sparkplug");
const say = (mapping: Mapping, type: string, body: Uint8Array, device = "") =>
  readShort(mapping, `spBv1.0/plant/${type}/edge-1${device && `/${device}`}`, body);
const outcome = (mapping: Mapping, type: string, body: Uint8Array, device = "", afterMs = 0) =>
  mapping.read({
    ...messageOf(`spBv1.0/plant/${type}/edge-1${device && `/${device}`}`, body),
    receivedAtMs: RECEIVED_MS + afterMs,
  });

function born(): Mapping {
  const mapping = open();
  say(mapping, "NBIRTH", nodeBirth());
  say(mapping, "DBIRTH", pumpBirth(1), "pump");
  return mapping;
}

test("births and data by alias become rows of all that a device is known to be", () => {
  const mapping = open();
  expect(say(mapping, "NBIRTH", nodeBirth())).toEqual([{ device: "plant.edge-1", at: AT, values: { Supply: 24.1 } }]);
  const values = { Pressure: 4.1, "Inputs/Temp": -5, Running: 1 };
  expect(say(mapping, "DBIRTH", pumpBirth(1), "pump")).toEqual([{ device: "plant.edge-1.pump", at: AT, values }]);
  const data = payload([metric({ alias: 3n }, int(7)), metric({ alias: 4n }, boolean(false))], 2);
  expect(say(mapping, "DDATA", data, "pump")).toMatchObject([
    { values: { Pressure: 4.1, "Inputs/Temp": 7, Running: 0 } },
  ]);
  expect(say(mapping, "NDATA", payload([metric({ name: "Supply" }, double(23.9))], 3))).toMatchObject([
    { values: { Supply: 23.9 } },
  ]);
  const nothing = payload([metric({ alias: 2n, isNull: true })], 4);
  expect(say(mapping, "DDATA", nothing, "pump")).toMatchObject([{ values: { "Inputs/Temp": 7, Running: 0 } }]);
});

test("data without a birth is refused and the edge node asked to tell it, once a minute", () => {
  const mapping = open();
  const data = payload([metric({ alias: 2n }, double(5))], 2);
  const first = outcome(mapping, "DDATA", data, "pump");
  expect(first.refusals).toMatchObject([{ refused: "no_birth" }]);
  expect(first.commands).toMatchObject([{ broker: "default", topic: "spBv1.0/plant/NCMD/edge-1" }]);
  const command = Payload.decode(first.commands[0]?.payload ?? new Uint8Array());
  expect(command.metrics).toMatchObject([
    { name: "Node Control/Rebirth", datatype: TYPES.Boolean, value: { $case: "booleanValue", value: true } },
  ]);
  expect(outcome(mapping, "DDATA", data, "pump", 59_999).commands).toEqual([]);
  expect(outcome(mapping, "DDATA", data, "pump", 60_000).commands).toHaveLength(1);
});

test.each([
  ["an alias that no birth has", metric({ alias: 9n }, double(5))],
  ["an alias of another source", metric({ alias: 1n }, double(5))],
  ["a name that no birth has", metric({ name: "Flow" }, double(5))],
])("%s is refused, and asked for", (_, strange) => {
  const { readings, refusals, commands } = outcome(born(), "DDATA", payload([strange], 2), "pump");
  expect([readings.length, refusals.map(({ refused }) => refused), commands.length]).toEqual([0, ["no_birth"], 1]);
});

test("an alias stands for the metric of its own source, whatever name it shares", () => {
  const mapping = born();
  say(
    mapping,
    "DBIRTH",
    payload([metric({ name: "Pressure", alias: 8n, datatype: TYPES.Double }, double(1))], 2),
    "valve",
  );
  expect(say(mapping, "DDATA", payload([metric({ alias: 8n }, double(5))], 3), "pump")).toEqual(["no_birth"]);
});

test("a gap in the sequence is said and asked about; numbers go on at 255", () => {
  const mapping = born();
  for (let seq = 2; seq < 300; seq++) {
    const { refusals } = outcome(mapping, "DDATA", payload([metric({ alias: 2n }, double(seq))], seq % 256), "pump");
    expect(refusals).toEqual([]);
  }
  const { readings, refusals, commands } = outcome(
    mapping,
    "DDATA",
    payload([metric({ alias: 2n }, double(5))], 46),
    "pump",
  );
  expect([readings.length, refusals.map(({ refused }) => refused), commands.length]).toEqual([1, ["sequence_gap"], 1]);
});

test("deaths make offline, and a late one of an earlier session does not", () => {
  const mapping = born();
  const words = (type: string, body: Uint8Array, device = "") => outcome(mapping, type, body, device).words;
  expect(words("DDEATH", payload([], 2), "pump")).toEqual([
    { kind: "availability", deviceId: "plant.edge-1.pump", online: false },
  ]);
  expect(words("DBIRTH", pumpBirth(3), "pump")).toEqual([
    { kind: "availability", deviceId: "plant.edge-1.pump", online: true },
  ]);
  expect(words("NBIRTH", nodeBirth(7))).toHaveLength(1);
  expect(words("NDEATH", nodeDeath(6))).toEqual([]);
  expect(words("DBIRTH", pumpBirth(1), "pump")).toHaveLength(1);
  expect(words("NDEATH", nodeDeath(7)).map(({ deviceId }) => deviceId)).toEqual(["plant.edge-1", "plant.edge-1.pump"]);
  expect(say(mapping, "DDATA", payload([metric({ alias: 2n }, double(5))], 2), "pump")).toEqual(["no_birth"]);
});

test("historical values, commands, host states and other bytes are no rows", () => {
  const mapping = born();
  const historical = payload([metric({ alias: 2n, isHistorical: true }, double(99))], 2);
  expect(say(mapping, "DDATA", historical, "pump")).toEqual(["out_of_order"]);
  expect(say(mapping, "DDATA", payload([metric({ alias: 3n }, int(1))], 3), "pump")).toMatchObject([
    { values: { Pressure: 4.1 } },
  ]);
  expect(say(mapping, "NCMD", payload([]))).toEqual(["not_mapped"]);
  expect(readShort(mapping, "spBv1.0/STATE/host", "{}")).toEqual(["not_mapped"]);
  expect(say(mapping, "NBIRTH", bytesOf("\u00ff{}"))).toEqual(["malformed_payload"]);
});

test("integers are as wide and signed as their type", () => {
  const mapping = open();
  const of = (name: string, datatype: number, value: ReturnType<typeof int>) => metric({ name, datatype }, value);
  const metrics = [
    of("i8", TYPES.Int8, int(0xff)),
    of("i32", TYPES.Int32, int(0xffff_fffe)),
    of("i64", TYPES.Int64, long(2n ** 64n - 3n)),
    of("u64", TYPES.UInt64, long(2n ** 40n)),
  ];
  expect(say(mapping, "NBIRTH", payload(metrics, 0))).toMatchObject([
    { values: { i8: -1, i32: -2, i64: -3, u64: 2 ** 40 } },
  ]);
});

test("only births, data and deaths are subscribed to", () => {
  expect(
    open()
      .topics("default")
      .map(({ filter }) => filter),
  ).toEqual([
    "spBv1.0/+/NBIRTH/+",
    "spBv1.0/+/DBIRTH/+/+",
    "spBv1.0/+/NDATA/+",
    "spBv1.0/+/DDATA/+/+",
    "spBv1.0/+/NDEATH/+",
    "spBv1.0/+/DDEATH/+/+",
  ]);
});

test("a flood of edge nodes is capped, and says so", () => {
  const mapping = open();
  const born = (node: string) => readShort(mapping, `spBv1.0/plant/NBIRTH/${node}`, nodeBirth());
  for (let node = 0; node < 500; node++) expect(born(`n${node}`)).toHaveLength(1);
  expect(born("one-more")).toEqual(["device_limit"]);
  readShort(mapping, "spBv1.0/plant/NDEATH/n0", nodeDeath());
  expect(born("one-more")).toMatchObject([{ device: "plant.one-more" }]);
});

test("whatever 100,000 messages come, decoder sparkplug gives rows that are fit, words, or a reason", () => {
  const right = [nodeBirth(), pumpBirth(1), payload([metric({ alias: 2n }, double(5))], 2), nodeDeath()];
  const mapping = open();
  const types = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"];
  const changed = fc
    .record({ of: fc.nat(3), at: fc.nat(), put: fc.uint8Array({ maxLength: 2 }), cut: fc.nat(3) })
    .map(({ of, at, put, cut }) => {
      const bytes = right[of] ?? new Uint8Array();
      const from = at % (bytes.length + 1);
      return Uint8Array.from([...bytes.slice(0, from), ...put, ...bytes.slice(from + cut)]);
    });
  const bytes = fc.oneof({ weight: 3, arbitrary: changed }, fc.uint8Array({ maxLength: 40 }));
  fc.assert(
    fc.property(fc.constantFrom(...types), fc.nat(2), bytes, (type, device, body) => {
      const { readings, refusals, words } = outcome(mapping, type, body, type.startsWith("D") ? `d${device}` : "");
      if (readings.length + refusals.length + words.length === 0 && type !== "NDEATH")
        throw new Error(`${type}: nothing`);
      for (const { values } of readings)
        for (const value of values.values()) if (!Number.isFinite(value)) throw new Error(`${value}`);
    }),
    { numRuns: 100_000 },
  );
});
