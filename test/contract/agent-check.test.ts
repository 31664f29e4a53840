// `flead agent check` on mapping files, as a person runs it.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../runtime/package-root.ts";
import { double, metric, nodeBirth, payload, pumpBirth } from "../support/sparkplug.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-check");
const plant = join(packageRoot, "mappings/plant.yaml");

const check = (config: string, ...args: string[]) => flead("check", "--config", config, ...args);

function flead(...args: string[]) {
  const command = [join(packageRoot, "cli/flead.ts"), "agent", ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    encoding: "utf8",
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  return { status, stdout, stderr };
}

test("the rows that messages become are printed with their channels, units, time and label", () => {
  const said = '{"at": "24.12.2026 08:00:00", "oil": {"temp": 615}, "strokes": 12, "truth": {"state": "ok"}}';
  const binary = join(folder, "payload");
  writeFileSync(binary, "00FF03E8");
  const samples = ["plant/line-2/press-4/state", said, "meters/7", `@${binary}`];
  const { status, stdout, stderr } = check(plant, "--sample", ...samples);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(
    /^plant\/line-2\/press-4\/state: 1 row\n {2}line-2-press-4 {2}2026-12-24T07:00:00.000Z {2}label 0$/m,
  );
  expect(stdout).toMatch(/^ {4}oil_temperature {2}61.5 {2}°C$/m);
  expect(stdout).toMatch(/^ {2}meter-7 {2}\S+ \(of arrival\)\n {4}current {2}2.55\d* {2}A$/m);
});

test.each([
  ["plant/x", "{}", "not used, not_mapped: no subscription has this topic"],
  ["plant/a/b/state", "{", "not used, malformed_json: "],
  ["plant/a/b/state", '{"oil": {"temp": 99999}}', "not used, out_of_range: channel oil_temperature is 9999.9"],
])("it is said why a message becomes no row, with exit code 1: %s %s", (topic, payload, why) => {
  const { status, stdout } = check(plant, "--sample", topic, payload);
  expect(status).toBe(1);
  expect(stdout).toContain(`${topic}: no row\n  ${why}`);
});

test("a retained sample, a sample without payload, and a wrong file are told", () => {
  expect(check(plant, "--retained", "--sample", "meters/7", "00FF03E8").stdout).toContain("not used, retained: ");
  expect(check(plant, "--sample", "meters/7")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("a topic and a payload"),
  });
  expect(check(plant, "--sample", "meters/7", "@nowhere")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("the payload @nowhere can't be read: ENOENT"),
  });
  const file = join(folder, "wrong.yaml");
  writeFileSync(file, "subscriptions: [{topic: a}]");
  expect(check(file)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("wrong.yaml: subscriptions.0.device: must be"),
  });
});

test("without a sample the file is checked and its topics are listed", () => {
  const { status, stdout } = check(plant);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^0 +plant\/\{line\}\/\{device\}\/state$/m);
});

test("the JSON Schema for editors is printed", () => {
  const { status, stdout } = flead("schema");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(join(packageRoot, "docs/mapping.schema.json"), "utf8")));
});

test("Sparkplug data is read with the birth before it, and asks for it without", () => {
  const mapping = join(folder, "sparkplug.yaml");
  writeFileSync(mapping, "subscriptions: [{preset: sparkplug}]");
  for (const [name, body] of [
    ["nbirth", nodeBirth()],
    ["birth", pumpBirth(1)],
    ["data", payload([metric({ alias: 2n }, double(5))], 2)],
  ] as const)
    writeFileSync(join(folder, name), body);
  const data = ["spBv1.0/g/DDATA/n/pump", `@${join(folder, "data")}`];
  expect(check(mapping, "--sample", ...data)).toMatchObject({
    status: 1,
    stdout: expect.stringContaining("published to spBv1.0/g/NCMD/n"),
  });
  const births = [
    "spBv1.0/g/NBIRTH/n",
    `@${join(folder, "nbirth")}`,
    "spBv1.0/g/DBIRTH/n/pump",
    `@${join(folder, "birth")}`,
  ];
  const { status, stdout } = check(mapping, "--sample", ...births, ...data);
  expect(status).toBe(0);
  expect(stdout).toMatch(/spBv1.0\/g\/DDATA\/n\/pump: 1 row\n {2}g.n.pump .*\n {4}Pressure {5}5$/m);
});
