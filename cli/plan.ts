// `flead plan`: check says whether a plan is one, what it costs, and whether its graphs compute what they should; show, all
// that a plan file comes to; build compiles one; diff compares two; activate makes a running coordinator's cohort learn by it.
import { readFile, writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError } from "commander";
import type { PlanReport } from "./plan-check.ts";
import { callApi } from "./rest.ts";
import { textTable } from "./text-table.ts";

const PLAN_FILE = "plan file of a cohort (YAML)";
const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90m`, `36h` or `7d`, in milliseconds. */
function duration(text: string): number {
  const [, count = "", unit = ""] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (unit === "") throw new InvalidArgumentError("It must be minutes, hours or days, as 90m, 36h or 7d.");
  return Number(count) * (UNIT_MS[unit] ?? 0);
}

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
  const build = new Command("build")
    .description("Compile a plan file to a bundle; the same file gives the same bytes.")
    .argument("<file>", PLAN_FILE)
    .option("-o, --output <bundle>", "where the bundle is written; left out: <plan id>.plan")
    .action(buildPlan)
    .exitOverride();
  const diff = new Command("diff")
    .description("Say what differs between two plan files, and what it means for the gateways.")
    .argument("<a>", PLAN_FILE)
    .argument("<b>", PLAN_FILE)
    .action(comparePlans)
    .exitOverride();
  const activate = new Command("activate")
    .description("Make the file's cohort of a running coordinator learn by its plan.")
    .argument("<file>", PLAN_FILE)
    .option("--url <url>", "the coordinator's REST API", "http://127.0.0.1:8080")
    .requiredOption("--reason <text>", "why; it is kept in the audit log")
    .option("--leave-after <time>", "how long gateways may hold the plan before, as 7d, 36h or 90m", duration)
    .action(activatePlan)
    .exitOverride();
  const plan = new Command("plan").description("Work on plan files.");
  for (const command of [check, show, build, diff, activate]) plan.addCommand(command);
  return plan;
}

async function showPlan(file: string): Promise<void> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { stringify } = await import("yaml");
  process.stdout.write(stringify(await readCohortFile(file)));
}

async function buildPlan(file: string, { output }: { readonly output?: string }): Promise<void> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { compilePlan } = await import("../learning/compile-plan.ts");
  const { encodeBundle } = await import("../proto/plan-bundle.ts");
  const { planId, bytes } = encodeBundle(compilePlan((await readCohortFile(file)).plan));
  const bundle = output ?? `${planId}.plan`;
  await writeFile(bundle, bytes);
  process.stdout.write(`${planId}  ${bytes.byteLength} bytes  ${bundle}\n`);
}

async function comparePlans(a: string, b: string): Promise<void> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { diffPlans } = await import("./plan-diff.ts");
  const { changes, meaning } = diffPlans(await readCohortFile(a), await readCohortFile(b));
  const rows = changes.map(({ key, from, to }) => [key, from, to]);
  if (rows.length > 0) process.stdout.write(`${textTable([["key", a, b], ...rows])}\n\n`);
  process.stdout.write(`${meaning}\n`);
}

interface Uploaded {
  readonly planId: string;
  readonly cohort: string;
  readonly federation: object;
}

interface Activated {
  readonly cohort: string;
  readonly planId: string;
  readonly championVersion: number;
  readonly leaving: string | null;
}

async function activatePlan(
  file: string,
  { url, reason, leaveAfter }: { readonly url: string; readonly reason: string; readonly leaveAfter?: number },
): Promise<void> {
  const { planId, cohort, federation } = await callApi<Uploaded>(url, "/api/v1/plans", await readFile(file, "utf8"));
  const order = { planId, federation, reason, ...(leaveAfter !== undefined && { leaveAfterMs: leaveAfter }) };
  const path = `/api/v1/cohorts/${encodeURIComponent(cohort)}/activate`;
  const { championVersion, leaving } = await callApi<Activated>(url, path, order);
  const left = leaving === null ? "" : `; it leaves plan ${leaving}`;
  process.stdout.write(`cohort ${cohort}: plan ${planId}, champion version ${championVersion}${left}\n`);
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
