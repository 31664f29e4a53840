import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { parseMappingFile, readMappingFile } from "../../agent/adapters/mapping-file.ts";
import { mappingJsonSchema } from "../../agent/adapters/mapping-schema.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { mappingOf, readShort } from "../support/mapping.ts";

const EXAMPLES = join(packageRoot, "mappings");
const published = JSON.parse(readFileSync(join(packageRoot, "docs/mapping.schema.json"), "utf8")) as object;

test("the published JSON Schema is that of this version", () => {
  expect(published).toEqual(mappingJsonSchema());
});

test.each(readdirSync(EXAMPLES))("the example %s is valid for the agent and for an editor", async (name) => {
  const file = join(EXAMPLES, name);
  expect((await readMappingFile(file)).subscriptions.length).toBeGreaterThan(0);
  const validate = new Ajv2020({ strict: false }).compile(published);
  const text = readFileSync(file, "utf8");
  expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
  expect(text).toMatch(/^# yaml-language-server: \$schema=\.\.\/docs\/mapping\.schema\.json\n/);
  expect(validate({ subscriptions: [{ topc: "x" }] })).toBe(false);
});

test("what the example's comments show is what it reads", async () => {
  const text = readFileSync(join(EXAMPLES, "plant.yaml"), "utf8");
  const mapping = mappingOf(text.slice(text.indexOf("subscriptions:\n") + "subscriptions:\n".length));
  const said = { at: "24.12.2026 08:00:00", id: "P-4", oil: { temp: 615 }, strokes: 12, truth: { state: "ok" } };
  expect(readShort(mapping, "plant/line-2/press-4/state", said)).toEqual([
    {
      device: "line-2-press-4",
      at: "2026-12-24T07:00:00.000Z",
      values: { oil_temperature: 61.5, strokes: 12 },
      label: 0,
    },
  ]);
  expect(readShort(mapping, "meters/7", "00FF03E8")).toMatchObject([
    { device: "meter-7", values: { current: 2.5500000000000003, voltage: 100 } },
  ]);
  expect(readShort(mapping, "logger/2", "1767225600;21.5;;1013.2")).toMatchObject([
    { device: "logger-2", at: "2026-01-01T00:00:00.000Z", values: { temperature: 21.5, pressure: 1013.2 } },
  ]);
});

test("every example of the documentation is a valid mapping", () => {
  const documentation = readFileSync(join(packageRoot, "docs/mapping.md"), "utf8");
  const blocks = documentation
    .split(/\n\n/)
    .filter((block) => /^ {4}(- preset|- topic|brokers:|subscriptions:)/.test(block));
  expect(blocks.length).toBeGreaterThanOrEqual(6);
  for (const block of blocks) {
    const text = block.replace(/^ {4}/gm, "");
    const whole = text.startsWith("- ") ? `subscriptions:\n${text}` : text;
    const file = text.startsWith("brokers:") ? `${whole}\nsubscriptions: [{preset: flead}]` : whole;
    expect(() => parseMappingFile(file), block).not.toThrow();
  }
});

const brokers = (text: string) => `brokers: [${text}]\nsubscriptions: [{preset: flead}]`;
const subscription = (text: string) => `subscriptions: [{topic: "a/{device}", device: "{device}", ${text}}]`;

test.each([
  ["subscriptions: []", "subscriptions"],
  ["subscriptions: [{device: x}]", "subscriptions.0.topic: must be given, or a preset that has one"],
  ["subscriptions: [{topic: a, fields: {}}]", "subscriptions.0.device: must be given"],
  ["subscriptions: [{preset: zigbee}]", "subscriptions.0.preset: Invalid option: expected one of"],
  ["subscriptions: [{topic: a/#/b, device: x, fields: {}}]", 'subscriptions.0.topic: level "#": a level is'],
  [
    "subscriptions: [{topic: '{a}/{a}', device: x, fields: {}}]",
    "subscriptions.0.topic: a segment's name stands twice",
  ],
  ["subscriptions: [{topic: '{key}', device: x, fields: {}}]", "subscriptions.0.topic: {key} has a meaning of its own"],
  [subscription("fields: {}, decode: xml"), 'subscriptions.0.decode: "xml" is neither one of json,'],
  [subscription("fields: {}, decode: {kind: csv}"), "subscriptions.0.decode.columns"],
  [
    subscription("fields: {}, decode: {kind: string, match: '('}"),
    "subscriptions.0.decode: Invalid regular expression",
  ],
  [subscription("field: {}"), 'subscriptions.0: unknown key "field"; allowed are preset, broker, topic'],
  [subscription(""), "subscriptions.0: it needs channels, fields, or a preset that has them"],
  [subscription("channels: [{name: '{line}'}]"), "subscriptions.0.channels.0.name: {line} is no segment of the topic"],
  [subscription("channels: [{name: anomaly}]"), 'subscriptions.0.channels.0.name: "anomaly" is what a label is called'],
  [subscription("channels: [{name: x, path: a..b}]"), 'subscriptions.0.channels.0.path: path "a..b" is none'],
  [
    subscription("channels: [{name: x, path: l}], label: {path: l}"),
    'subscriptions.0.channels.0.path: "l" is a label, the time',
  ],
  [
    subscription("channels: [{name: x, path: 'is_anomaly[0].value'}]"),
    'subscriptions.0.channels.0.path: "is_anomaly" is',
  ],
  [subscription("channels: [{name: x, range: [2, 1]}]"), "subscriptions.0.channels.0.range: must be the lowest"],
  [subscription("fields: {}, each: a"), "subscriptions.0.each: it must lead to many things"],
  [subscription("fields: {}, time: {path: t, zone: Mars}"), 'subscriptions.0.time: zone "Mars": allowed are UTC'],
  [subscription("fields: {}, time: {path: t, format: hh}"), "subscriptions.0.time: format: allowed are auto"],
  [brokers("{name: a, url: mqtt://user:secret@host}"), "brokers.0.url: must be a URL such as mqtts://host:8883; user"],
  [brokers("{name: a, url: 'mqtt://h', protocol: 4}"), "brokers.0.protocol: Invalid option"],
  [brokers("{name: a, url: 'mqtt://h', sessionExpirySeconds: 9}"), "brokers.0.sessionExpirySeconds: is of MQTT 5"],
  [brokers("{name: a, url: 'mqtt://h', protocol: 5, cleanSession: false}"), "brokers.0.sessionExpirySeconds: must be"],
  [
    brokers("{name: a, url: 'mqtts://h', keyFile: k}"),
    "brokers.0.keyFile: certificateFile and keyFile belong together",
  ],
  [brokers("{name: a, url: 'mqtt://h'}, {name: a, url: 'mqtt://h'}"), "brokers: a name stands twice"],
  [
    brokers("{name: a, url: 'mqtt://h'}").replace("preset: flead", "preset: flead, broker: b"),
    "subscriptions.0.broker: no broker is named b; brokers has a",
  ],
])("a wrong mapping is refused by key and what is allowed: %s", (text, message) => {
  expect(() => parseMappingFile(text)).toThrow(message);
});

test("an error names the file", async () => {
  await expect(readMappingFile("no-such.yaml")).rejects.toThrow("mapping no-such.yaml: ");
});
