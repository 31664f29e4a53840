import fc from "fast-check";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { parseMappingFile, presetRoutes } from "../../agent/adapters/mapping-file.ts";
import { Discovery } from "../../agent/core/mapping/discovery.ts";
import { bytesOf, mappingOf, messageOf, RECEIVED_MS, readShort } from "../support/mapping.ts";
import { nodeBirth, pumpBirth } from "../support/sparkplug.ts";

type Said = readonly [topic: string, body: unknown, afterMs?: number];

function discover(said: readonly Said[]) {
  const discovery = new Discovery(presetRoutes());
  for (const [topic, body, afterMs = 0] of said)
    discovery.hear({ ...messageOf(topic, body, true), receivedAtMs: RECEIVED_MS + afterMs });
  return discovery.propose();
}

/** The draft as a mapping. */
const mappingFrom = (proposals: readonly { subscription: object }[]) =>
  mappingOf(stringify(proposals.map(({ subscription }) => subscription)).replace(/^/gm, "  "));

const telegraf = { fields: { load: 1 }, name: "system", tags: { host: "a" }, timestamp: RECEIVED_MS / 1000 };

test.each<readonly [string, string, unknown]>([
  ["zigbee2mqtt", "zigbee2mqtt/lamp", { temperature: 20 }],
  ["zigbee2mqtt", "zigbee2mqtt/lamp/availability", { state: "online" }],
  ["tasmota", "tele/plug/SENSOR", { ENERGY: { Power: 1 } }],
  ["statestream", "homeassistant/sensor/x/state", "21.5"],
  ["thingsboard", "v1/gateway/telemetry", { A: [{ ts: RECEIVED_MS, values: { t: 1 } }] }],
  ["telegraf", "telegraf/a/system", telegraf],
  ["telegraf-batch", "telegraf/a/system", { metrics: [telegraf] }],
  ["sparkplug", "spBv1.0/g/NBIRTH/n", nodeBirth()],
  ["sparkplug", "spBv1.0/g/DDATA/n/d", pumpBirth(1)],
  ["flead", "flead/v1/hall/pump-1/telemetry", { flow: 1 }],
  ["insa", "insa/devices/pump-1/telemetry", { flow: 1 }],
])("preset %s is recognised by %s", (preset, topic, body) => {
  expect(discover([[topic, body]]).proposals).toMatchObject([{ subscription: { preset } }]);
});

test("other JSON is proposed by topics that vary, with its time and how often it comes", () => {
  const row = { ts: RECEIVED_MS, temp: 20, note: "x" };
  const { proposals, leftovers } = discover([
    ["plant/l1/press-1/state", row, 0],
    ["plant/l1/press-1/state", row, 950],
    ["plant/l1/press-1/state", row, 1_900],
    ["plant/l2/press-2/state", row, 0],
    ["plant/l2/press-2/log", "started"],
  ]);
  expect(proposals.map(({ subscription }) => subscription)).toEqual([
    {
      topic: "plant/{level2}/{device}/state",
      device: "{level2}-{device}",
      fields: {},
      time: { path: "ts" },
      expectedIntervalMs: 1_000,
    },
  ]);
  expect(leftovers).toEqual([{ topics: 1, example: "plant/l2/press-2/log", why: expect.stringContaining("number") }]);
  expect(readShort(mappingFrom(proposals), "plant/l9/press-7/state", row)).toMatchObject([
    { device: "l9-press-7", values: { temp: 20 } },
  ]);
});

test("numbers a topic are proposed as channels of a device, aligned to rows; a label is told of", () => {
  const { proposals } = discover([
    ["site/boiler/temp", "61"],
    ["site/boiler/pressure", "4"],
    ["site/pump/flow", "3"],
    ["site/pump/state", { flow: 1, anomaly: 0 }],
  ]);
  expect(proposals.map(({ subscription }) => subscription)).toEqual([
    { topic: "site/{device}/state", device: "{device}", fields: {} },
    {
      topic: "site/{device}/{channel}",
      device: "{device}",
      decode: "number",
      channels: [{ name: "{channel}" }],
      partial: true,
      expectedIntervalMs: 60_000,
    },
  ]);
  expect(proposals[0]?.comment).toContain("label: {path: anomaly}");
  const mapping = mappingFrom(proposals);
  expect(readShort(mapping, "site/boiler/temp", "61")).toMatchObject([{ device: "boiler", values: { temp: 61 } }]);
  expect(readShort(mapping, "site/pump/state", { flow: 1 })).toMatchObject([{ device: "pump", values: { flow: 1 } }]);
});

test("what agents say themselves is not proposed", () => {
  expect(
    discover([
      ["flead/v1/hall/gw-1/status", { a: 1 }],
      ["flead/v1/hall/gw-1/event/d/z_score", { a: 1 }],
    ]),
  ).toEqual({
    proposals: [],
    leftovers: [],
  });
});

test("a flood of topics is bounded, and said", () => {
  const { proposals, leftovers } = discover(Array.from({ length: 6_000 }, (_, at) => [`a/${at}/b`, "1"] as const));
  expect(proposals).toHaveLength(1);
  expect(leftovers).toMatchObject([{ topics: 1_000, why: expect.stringContaining("5000") }]);
  const many = discover(Array.from({ length: 60 }, (_, at) => [`a${at}/x/y/z`, { [`f${at}`]: 1 }] as const));
  expect(many.proposals).toHaveLength(50);
  expect(many.leftovers).toMatchObject([{ topics: 10 }]);
});

test("whatever is heard, what is proposed is a valid mapping", () => {
  const level = fc.oneof(
    fc.constantFrom("", "{device}", "{", "$SYS", "a", "b", "label"),
    fc.string({ unit: "binary", maxLength: 6 }),
  );
  const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join("/"));
  const body = fc.oneof(
    fc.constantFrom("1", '{"v":1}', '[{"v":1,"ts":1795255198}]', "on"),
    fc.json(),
    fc.uint8Array({ maxLength: 8 }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(topic, body), { minLength: 1, maxLength: 12 }), (said) => {
      const { proposals } = discover(said.map(([where, what]) => [where, bytesOf(what)] as const));
      if (proposals.length === 0) return;
      const subscriptions = proposals.map(({ subscription }) => subscription);
      expect(() => parseMappingFile(stringify({ subscriptions }))).not.toThrow();
    }),
    { numRuns: 500 },
  );
});
