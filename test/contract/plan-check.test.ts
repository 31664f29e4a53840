// `flead plan check` and `show` on plan files, as a person runs them.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { GRADIENT_TOLERANCE, inspectPlan, STEP_TOLERANCE } from "../../cli/plan-check.ts";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import type { LossSettings, ModelSettings, PlanSettings } from "../../learning/plan.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { featuresOf, forestPlan, testPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("plan-check");

const check = (...args: string[]) => flead("check", ...args);

function flead(...args: string[]) {
  const command = [join(packageRoot, "cli/flead.ts"), "plan", ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    encoding: "utf8",
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  return { status, stdout, stderr };
}

/** The file of a cohort with this plan. */
function planFile(name: string, plan: PlanSettings): string {
  const file = join(folder, name);
  writeFileSync(file, stringify({ cohort: "pumps", plan }));
  return file;
}

test("a good plan is told what it costs", () => {
  const { status, stdout, stderr } = check(planFile("good.yaml", testPlan));
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^parameters +149\nfeatures +12\nbundle +\d+ bytes\nan update +596 bytes$/m);
  // 500 calibration rows of 12 float32 features; 100 + 1 rows of 3 float64 readings to look back at.
  expect(stdout).toMatch(/^a device keeps +26424 bytes$/m);
  expect(stdout).toMatch(/^rows before the first verdict +600$/m);
  expect(stdout).toMatch(/^scoring 1000 rows +\d+\.\d µs$/m);
});

test("a forest's plan is told what it costs to grow, and that there is no gradient", () => {
  const { status, stdout, stderr } = check(planFile("forest.yaml", forestPlan));
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  // 20 trees of 63 splits (feature, threshold) and 64 ends.
  expect(stdout).toMatch(/^parameters +3800$/m);
  expect(stdout).toMatch(/^an update +15200 bytes$/m);
  expect(stdout).toMatch(/^gradient +no gradient: a forest is grown, not descended$/m);
  expect(stdout).toMatch(/^growing from 150 rows +\d+\.\d µs$/m);
  expect(stdout).toMatch(/^scoring 1000 rows +\d+\.\d µs$/m);
  expect(stdout).not.toContain("a step of");
  expect(flead("show", join(folder, "forest.yaml")).stdout).toMatch(/^ {4}kind: pool_trees$/m);
});

test("a plan that cannot be is refused with the key and what is allowed, and exit code 1", () => {
  const file = planFile("bad.yaml", { ...testPlan, score: { largest: 13, trailingRows: 1 } });
  const { status, stdout, stderr } = check(file);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toBe(
    `flead: plan ${file}: plan.model: score.largest of 13 must be null or 1 to 12, the model's errors a row\n`,
  );
});

test("without a file the command was called wrongly", () => {
  const { status, stderr } = check();
  expect(status).toBe(2);
  expect(stderr).toContain("missing required argument 'file'");
});

const window = featuresOf({ kind: "window", rows: 5 });

test.each<[ModelSettings, Partial<PlanSettings>]>([
  [{ kind: "dense_forecaster", hidden: [] }, { features: window }],
  [{ kind: "conv_autoencoder", filters: [4], kernel: 3 }, { features: window }],
  [{ kind: "classifier", hidden: [3] }, { threshold: { rule: { kind: "fixed", threshold: 0.9 }, rows: 30 } }],
])("the graphs of a $kind compute what they should", async (model, change) => {
  const loss: LossSettings = model.kind === "classifier" ? { kind: "cross_entropy" } : { kind: "huber", delta: 1 };
  const optimiser = { kind: "adam", beta1: 0.9, beta2: 0.999 } as const;
  const training = { ...testPlan.training, loss, optimiser, clip: 1, l2: 0.01, proximal: 0.1 };
  const report = await inspectPlan({ ...testPlan, ...change, model, training });
  if (report.training.kind !== "descent") throw new Error("there is no step");
  expect(report.training.gradient.worst).toBeLessThan(GRADIENT_TOLERANCE / 10);
  expect(report.training.stepError).toBeLessThan(STEP_TOLERANCE / 10);
  expect(report.updateBytes).toBe(4 * report.parameters);
});

test("a plan is shown with all that its preset and the defaults add, and what is shown is the same plan", async () => {
  const shown = flead("show", join(packageRoot, "plans/skab.yaml"));
  expect({ status: shown.status, stderr: shown.stderr }).toEqual({ status: 0, stderr: "" });
  expect(shown.stdout).toMatch(/^ {6}kind: federated_conformal$/m);
  const again = join(folder, "shown.yaml");
  writeFileSync(again, shown.stdout);
  expect(await readCohortFile(again)).toEqual(await readCohortFile(join(packageRoot, "plans/skab.yaml")));
});
