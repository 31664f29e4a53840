// `flead plan`: check says whether a plan is one, what it costs, and whether its graphs compute what they should; show, all
// that a plan comes to; build compiles one; diff compares two; dry-run tries one on a running coordinator's held-out streams;
// activate makes its cohort learn by it.
import { writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError } from "commander";
import { dryRunText } from "./dry-run-text.ts";
import type { PlanReport } from "./plan-check.ts";
import type { CohortPlan } from "./plan-diff.ts";
import { activateUploaded, cohortPlan, dryRunPlan, planById, uploadPlan } from "./plan-rest.ts";
import { textTable } from "./text-table.ts";
import { UsageError } from "./usage.ts";

const PLAN_FILE = "plan file of a cohort (YAML)";
const PLAN_ID = /^[0-9a-f]{64}$/;
const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90m`, `36h` or `7d`, in milliseconds. */
function duration(text: string): number {
  const [, count = "", unit = ""] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (unit === "") throw new InvalidArgumentError("It must be minutes, hours or days, as 90m, 36h or 7d.");
  return Number(count) * (UNIT_MS[unit] ?? 0);
}

export function planCommand(): Command {
  const check = subcommand("check", "Compile a cohort's plan and check its training step; exit code 1 if it is wrong.")
    .argument("<file>", PLAN_FILE)
    .action(checkPlan);
  const show = running(
    "show",
    "Print a plan file with what its preset and the defaults add; it is a plan file as well.",
  )
    .argument("[plan]", "plan file of a cohort (YAML), or the id of a running coordinator's plan")
    .option("--cohort <cohort>", "what this cohort of a running coordinator learns by")
    .action(showPlan);
  const build = subcommand("build", "Compile a plan file to a bundle; the same file gives the same bytes.")
    .argument("<file>", PLAN_FILE)
    .option("-o, --output <bundle>", "where the bundle is written; left out: <plan id>.plan")
    .action(buildPlan);
  const diff = running("diff", "Say what differs between two plan files, and what it means for the gateways.")
    .argument("<a>", PLAN_FILE)
    .argument("[b]", "the plan file that comes after it")
    .option("--cohort <cohort>", "what a running coordinator's cohort learns by, in place of a file before <a>")
    .action(comparePlans);
  const dryRun = running("dry-run", "Try a plan on its cohort's held-out streams; exit code 1 if it fails.")
    .argument("<file>", PLAN_FILE)
    .action(tryPlan);
  const activate = running("activate", "Make the file's cohort learn by its plan, if its dry run passes.")
    .argument("<file>", PLAN_FILE)
    .requiredOption("--reason <text>", "why; it is kept in the audit log")
    .option("--leave-after <time>", "how long gateways may hold the plan before, as 7d, 36h or 90m", duration)
    .option("--force", "without a dry run; the audit log says so")
    .action(activatePlan);
  const plan = new Command("plan").description("Work on plans of cohorts.");
  for (const command of [check, show, build, diff, dryRun, activate]) plan.addCommand(command);
  return plan;
}

const subcommand = (name: string, description: string) => new Command(name).description(description).exitOverride();

const running = (name: string, description: string) =>
  subcommand(name, description).option("--url <url>", "the coordinator's REST API", "http://127.0.0.1:8080");

interface Running {
  readonly url: string;
  readonly cohort?: string;
}

async function showPlan(plan: string | undefined, { url, cohort }: Running): Promise<void> {
  const { stringify } = await import("yaml");
  if ((plan === undefined) === (cohort === undefined))
    throw new UsageError("name a plan file, a plan's id or --cohort");
  if (plan !== undefined && PLAN_ID.test(plan)) {
    const { plan: settings, cohorts } = await planById(url, plan);
    const who = cohorts.map(
      (held) => `# cohort ${held.cohort}: ${held.state}, champion version ${held.championVersion}\n`,
    );
    process.stdout.write(who.join("") + stringify({ plan: settings }));
    return;
  }
  const { settings } = plan === undefined ? await cohortPlan(url, cohort ?? "") : await filePlan(plan);
  process.stdout.write(stringify(settings));
}

async function filePlan(file: string): Promise<CohortPlan> {
  const { readCohortFile } = await import("../coordinator/adapters/cohort-file.ts");
  const { compilePlan } = await import("../learning/compile-plan.ts");
  const { encodeBundle } = await import("../proto/plan-bundle.ts");
  const settings = await readCohortFile(file);
  return { planId: encodeBundle(compilePlan(settings.plan)).planId, settings };
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

async function comparePlans(a: string, b: string | undefined, { url, cohort }: Running): Promise<void> {
  if ((b === undefined) === (cohort === undefined)) throw new UsageError("name a second plan file or --cohort");
  const { diffPlans } = await import("./plan-diff.ts");
  const [before, after] = b === undefined ? [await cohortPlan(url, cohort ?? ""), a] : [await filePlan(a), b];
  const { changes, meaning } = diffPlans(before, await filePlan(after));
  const rows = changes.map(({ key, from, to }) => [key, from, to]);
  const heading = ["key", b === undefined ? `cohort ${cohort}` : a, after];
  if (rows.length > 0) process.stdout.write(`${textTable([heading, ...rows])}\n\n`);
  process.stdout.write(`${meaning}\n`);
}

async function tryPlan(file: string, { url }: Running): Promise<void> {
  const run = await dryRunPlan(url, await uploadPlan(url, file));
  process.stdout.write(`${dryRunText(run)}\n`);
  if (!run.passed) process.exitCode = 1;
}

interface Activation extends Running {
  readonly reason: string;
  readonly leaveAfter?: number;
  readonly force?: boolean;
}

async function activatePlan(file: string, { url, reason, leaveAfter, force }: Activation): Promise<void> {
  const uploaded = await uploadPlan(url, file);
  if (!force) {
    const run = await dryRunPlan(url, uploaded);
    process.stdout.write(`${dryRunText(run)}\n`);
    if (!run.passed) throw new Error("its dry run failed: it was not activated; --force does it all the same");
  }
  const choice = { reason, ...(force && { force }), ...(leaveAfter !== undefined && { leaveAfterMs: leaveAfter }) };
  const { cohort, planId, championVersion, leaving } = await activateUploaded(url, uploaded, choice);
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
  const { scoreUs, tuned } = report;
  const rows: (readonly [string, string])[] = [
    ["plan", `${cohort}, ${report.planId.slice(0, 12)}`],
    ["parameters", String(report.parameters)],
    ...(tuned === null
      ? []
      : [["fine-tuned by a gateway", `${tuned.parameters}, ${tuned.tensors.join(", ")}`] as const]),
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
