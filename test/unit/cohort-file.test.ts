// What an operator's plan file may say, and how it is told what it may not.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import { forestPlan, testPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const file = join(temporaryFolder("cohort-file"), "pumps.yaml");

/** What the file is told, with `more` under its lines; null: it is taken. */
async function verdict(...more: readonly string[]): Promise<string | null> {
  writeFileSync(file, ["cohort: pumps", ...more, ""].join("\n"));
  return readCohortFile(file).then(
    () => null,
    (error: Error) => error.message,
  );
}

const plan = (more = "") => `plan: { channels: [{ name: flow }]${more} }`;

test.each<[string, readonly string[], string]>([
  ["the file", [plan(), "rounds: {}"], 'the file: unknown key "rounds"; allowed are cohort, plan, federation'],
  ["a plan", [plan(", commissioning: 3")], 'plan: unknown key "commissioning"; allowed are preset, channels, '],
  [
    "a channel",
    ["plan: { channels: [{ name: flow, units: l }] }"],
    'plan.channels.0: unknown key "units"; allowed are',
  ],
  ["a model", [plan(", model: { kind: classifier, width: 3 }")], 'plan.model: unknown key "width"; allowed are kind, '],
  [
    "a preset's training",
    [plan(", training: { rate: 1, epochs: 2 }")],
    'plan.training: unknown key "rate", "epochs"; allowed are learningRate, batchRows, ',
  ],
  [
    "a round",
    [plan(), "federation: { round: { update: 3 } }"],
    'federation.round: unknown key "update"; allowed are mode, updates, intervalMs, deadlineMs, minGateways, maxStaleness',
  ],
  [
    "a clip",
    [plan(), "federation: { rule: { kind: median, clip: { norm: 3 } } }"],
    'federation.rule.clip: {"norm":3} is neither { medianMultiple: … } nor { maxNorm: … }',
  ],
])("an unknown key in %s is named, with where it is and what is allowed there", async (_, lines, told) => {
  const message = await verdict(...lines);
  expect(message).toContain(`plan ${file}: `);
  expect(message).toContain(told);
});

test("every unknown key of a file is told at once, and a file without one is taken", async () => {
  const message = await verdict(plan(", preset: machines, bogus: 1, score: { best: 2 }"), "federation: { gates: {} }");
  for (const key of ["bogus", "best", "gates"]) expect(message).toContain(`unknown key "${key}"`);
  expect(await verdict(plan(", preset: machines"))).toBeNull();
});

function read(given: object, federation: object = {}) {
  writeFileSync(file, JSON.stringify({ cohort: "pumps", plan: given, federation })); // JSON is YAML
  return readCohortFile(file);
}

test("what is left unsaid is the rule of the plan's model", async () => {
  expect((await read(testPlan)).federation.rule).toEqual({ kind: "multi_krum", faultyShare: 0.2 });
  expect((await read(forestPlan)).federation.rule).toEqual({ kind: "pool_trees" });
  expect((await read(forestPlan, { rule: { kind: "pool_trees" } })).federation.optimiser).toEqual({ kind: "none" });
});

test("a preset's name and channels are a forest's plan", async () => {
  const { plan: forest, federation } = await read({ preset: "forest", channels: testPlan.channels });
  expect(forest.model.kind).toBe("isolation_forest");
  expect(federation.rule.kind).toBe("pool_trees");
});

test.each<[string, object, object, string]>([
  [
    "a rule of pulls for a forest",
    forestPlan,
    { rule: { kind: "median" } },
    "federation.rule.kind: an isolation_forest needs pool_trees, not median",
  ],
  [
    "a server's step for a forest",
    forestPlan,
    { optimiser: { kind: "avgm", momentum: 0.9, rate: 1 } },
    "federation.optimiser.kind: an isolation_forest needs none, not avgm: pooled trees are no step",
  ],
  [
    "a pool of what are no trees",
    testPlan,
    { rule: { kind: "pool_trees" } },
    "federation.rule.kind: pool_trees is an isolation_forest's; a dense_autoencoder needs one of pulls",
  ],
])("%s is refused with its key", async (_, given, federation, fault) => {
  await expect(read(given, federation)).rejects.toThrow(fault);
});

const LIVE = { device: "ref-1", topic: "flead/v1/lab/ref-1/telemetry" };

test("live streams and drift have defaults", async () => {
  const { federation } = await read(testPlan, { live: [LIVE] });
  const defaults = { labelTopic: null, labelField: null, windowMs: 300_000, latenessMs: 600_000 };
  expect(federation.live).toEqual([{ ...LIVE, ...defaults }]);
  expect(federation.drift).toEqual({ drop: 0.1, windows: 3, rows: 2_000, action: "event" });
});

test.each<[string, object, string]>([
  ["a wildcard", { ...LIVE, topic: "plant/+/rows" }, "federation.live.0.topic: must be one topic, without +, #"],
  ["no device id", { ...LIVE, device: "../etc" }, "federation.live.0.device: must be 1 to 64 letters"],
  ["one topic for both", { ...LIVE, labelTopic: LIVE.topic }, "federation.live.0.labelTopic: must be another topic"],
  ["too long a wait", { ...LIVE, windowMs: 1_000 }, "federation.live.0.latenessMs: must be at most 24 windows"],
  ["a channel that labels", { ...LIVE, labelField: testPlan.channels[0]?.name }, "is a channel of the plan"],
])("a live stream with %s is refused", async (_, stream, fault) => {
  await expect(read(testPlan, { live: [stream] })).rejects.toThrow(fault);
});

test("live streams are of different devices, and at most 16", async () => {
  await expect(read(testPlan, { live: [LIVE, LIVE] })).rejects.toThrow("federation.live: names a device twice");
  const many = Array.from({ length: 17 }, (_, i) => ({ ...LIVE, device: `ref-${i}` }));
  await expect(read(testPlan, { live: many })).rejects.toThrow(/federation.live: /);
});
