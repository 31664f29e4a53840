// Cohort files: which rule and optimiser go with which model.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import { forestPlan, testPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("cohort-file");

function read(plan: object, federation: object = {}) {
  const file = join(folder, "cohort.yaml");
  writeFileSync(file, JSON.stringify({ cohort: "pumps", plan, federation })); // JSON is YAML
  return readCohortFile(file);
}

test("what is left unsaid is the rule of the plan's model", async () => {
  expect((await read(testPlan)).federation.rule).toEqual({ kind: "multi_krum", faultyShare: 0.2 });
  expect((await read(forestPlan)).federation.rule).toEqual({ kind: "pool_trees" });
  expect((await read(forestPlan, { rule: { kind: "pool_trees" } })).federation.optimiser).toEqual({ kind: "none" });
});

test("a preset's name and channels are a forest's plan", async () => {
  const { plan, federation } = await read({ preset: "forest", channels: testPlan.channels });
  expect(plan.model.kind).toBe("isolation_forest");
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
])("%s is refused with its key", async (_, plan, federation, fault) => {
  await expect(read(plan, federation)).rejects.toThrow(fault);
});
