// `flead plan check`: whether a plan is one, what it costs, and whether its graphs compute what they should; `flead plan
// show`: all that a plan file comes to, with what its preset and the defaults add.
import { Command } from "commander";
import type { PlanReport } from "./plan-check.ts";

export function planCommand(): Command {
  const check = new Command("check")
    .description("Compile a cohort's plan and check its training step; exit code 1 if something is wrong with it.")
    .argument("<file>", "plan file of a cohort (YAML)")
    .action(checkPlan)
    .exitOverride();
  const show = new Command("show")
    .description("Print a cohort's whole file, with what its preset and the defaults add; it is a plan file as well.")
    .argument("<file>", "plan file of a cohort (YAML)")
    .action(showPlan)
    .exitOverride();
  return new Command("plan").description("Work on plan files.").addCommand(check).addCommand(show);
}

async function showPlan(file: string): Promise<void> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { stringify } = await import("yaml");
  process.stdout.write(stringify(await readCohortFile(file)));
}

async function checkPlan(file: string): Promise<void> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { plan, cohort } = await readCohortFile(file);
  const { GRADIENT_TOLERANCE, inspectPlan, STEP_TOLERANCE } = await import("./plan-check.ts");
  const report = await inspectPlan(plan);
  process.stdout.write(`${lines(cohort, plan.training.batchRows, report).join("\n")}\n`);
  const { training } = report;
  if (training.kind === "growth") return;
  requireWithin("its gradient differs from finite differences", training.gradient.worst, GRADIENT_TOLERANCE);
  requireWithin("its step in onnxruntime differs from the interpreter's", training.stepError, STEP_TOLERANCE);
}

function requireWithin(what: string, found: number, tolerance: number): void {
  if (!(found <= tolerance)) throw new Error(`${what} by ${found.toExponential(1)}; at most ${tolerance} is allowed`);
}

function lines(cohort: string, batchRows: number, report: PlanReport): string[] {
  const { scoreUs } = report;
  const rows: [string, string][] = [
    ["plan", `${cohort}, ${report.planId.slice(0, 12)}`],
    ["parameters", String(report.parameters)],
    ["features", String(report.features)],
    ["bundle", `${report.bundleBytes} bytes`],
    ["an update", `${report.updateBytes} bytes`],
    ["a device keeps", `${report.deviceBytes} bytes`],
    ["rows before the first verdict", String(report.rowsBeforeVerdict)],
    ...trainingLines(report.training, batchRows),
    ["scoring 1 row", `${scoreUs.oneRow.toFixed(1)} µs`],
    ["scoring 1000 rows", `${scoreUs.thousandRows.toFixed(1)} µs`],
  ];
  return rows.map(([name, value]) => name.padEnd(31) + value);
}

function trainingLines(training: PlanReport["training"], batchRows: number): [string, string][] {
  if (training.kind === "growth")
    return [
      ["gradient", "no gradient: a forest is grown, not descended"],
      [`growing from ${training.rows} rows`, `${training.growUs.toFixed(1)} µs`],
    ];
  const { gradient, stepError, stepUs } = training;
  return [
    ["gradient", `${gradient.checked} parameters, at most ${gradient.worst.toExponential(1)} from finite differences`],
    ["step in onnxruntime", `at most ${stepError.toExponential(1)} from the interpreter's`],
    [`a step of ${batchRows} rows`, `${stepUs.toFixed(1)} µs`],
  ];
}
