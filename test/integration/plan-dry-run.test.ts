// Plans tried, compared and activated on a running coordinator, over REST and by `flead plan`.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import type { Json } from "../support/json.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("plan-dry-run");
const idOf = (plan: PlanSettings) => encodeBundle(compilePlan(plan)).planId;

/** A plan file of the cohort. */
function file(name: string, plan: PlanSettings, cohort = "pumps") {
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, JSON.stringify({ cohort, plan })); // JSON is YAML
  return { path, planId: idOf(plan) };
}

const first = file("first", pumpPlan);
const slower = file("slower", { ...pumpPlan, commissioningRows: 120 });
const noisier = file("noisier", { ...pumpPlan, channels: [...pumpPlan.channels, { name: "noise", unit: "dB" }] });
const fans = file("fans", { ...pumpPlan, commissioningRows: 140 }, "fans");
const started = file("started", { ...pumpPlan, commissioningRows: 150 });

let coordinator: Coordinator;

function start(plan: string): Promise<Coordinator> {
  const config = readCoordinatorConfig({
    FLEAD_PLANS: plan,
    FLEAD_HELD_OUT: join(folder, "held-out"),
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  return openCoordinator(config, createLogger("test", "silent"));
}

beforeAll(async () => {
  for (const pump of [1, 2]) writeCsv(join(folder, "held-out/pumps"), plantStream(pump, 500, 300));
  coordinator = await start(first.path);
});
afterAll(() => coordinator?.close());

async function call(path: string, body?: object): Promise<{ status: number; body: Json }> {
  const request = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(new URL(`/api/v1/${path}`, coordinator.url), request);
  return { status: response.status, body: await response.json() };
}

async function flead(...args: string[]) {
  const command = [join(packageRoot, "cli/flead.ts"), "plan", ...args, "--url", coordinator.url];
  const child = spawn(process.execPath, command, { env: { ...process.env, NODE_NO_WARNINGS: "1" } });
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.on("exit", resolve)),
  ]);
  return { status, stdout, stderr };
}

const activePlan = async () =>
  (await call("health")).body.cohorts.find(({ cohort }: Json) => cohort === "pumps").planId;

describe("flead plan", () => {
  test("dry-run shows the plan's scores beside the champion's and the baselines', and changes nothing", async () => {
    const { status, stdout, stderr } = await flead("dry-run", slower.path);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(new RegExp(`^plan ${slower.planId}: its dry run \\d+ for cohort pumps passed$`));
    expect(lines[2]).toMatch(/^model +stream +n +precision +recall +F1 +PR-AUC$/);
    expect(lines[3]).toMatch(/^the plan's initial weights, untrained +all +460( +(-|\d\.\d{3})){4}$/);
    expect(lines[4]).toMatch(/^the champion under its own plan +all +500( +(-|\d\.\d{3})){4}$/);
    expect(stdout).toMatch(/^z-score +pump-2 +230 /m);
    expect(await activePlan()).toBe(first.planId);
  });

  test("dry-run and activate say why a plan fails, and the cohort goes on", async () => {
    const why = 'missing_channel, stream pump-1: it has no column "noise"';
    const tried = await flead("dry-run", noisier.path);
    expect(tried).toMatchObject({ status: 1, stderr: "", stdout: expect.stringContaining(why) });
    const refused = await flead("activate", noisier.path, "--reason", "more channels");
    expect(refused).toMatchObject({
      status: 1,
      stdout: expect.stringContaining(why),
      stderr: "flead: its dry run failed: it was not activated; --force does it all the same\n",
    });
    expect(await activePlan()).toBe(first.planId);
  });

  test("diff compares a file with what a cohort learns by", async () => {
    const { status, stdout } = await flead("diff", slower.path, "--cohort", "pumps");
    expect(status).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^key +cohort pumps +\S+slower\.yaml$/);
    expect(lines[1]).toMatch(/^plan\.commissioningRows +100 +120$/);
    expect(lines.slice(2)).toEqual([
      "",
      "another plan, which its gateways fetch: the cohort begins from its initial weights, unless it had that plan before",
      "",
    ]);
    expect((await flead("diff", first.path, "--cohort", "pumps")).stdout).toBe(
      "nothing differs: the same plan, and the same federation settings\n",
    );
    expect(await flead("diff", first.path, "--cohort", "nobody")).toMatchObject({
      status: 1,
      stderr: "flead: there is no cohort nobody; there are pumps\n",
    });
    expect((await flead("diff", first.path)).status).toBe(2);
  });

  test("show prints what a cohort learns by as a plan file, and a plan by its id", async () => {
    const shown = await flead("show", "--cohort", "pumps");
    const again = join(folder, "again.yaml");
    writeFileSync(again, shown.stdout);
    expect((await flead("diff", again, "--cohort", "pumps")).stdout).toMatch(/^nothing differs/);
    const { stdout } = await flead("show", first.planId);
    expect(stdout).toContain("# cohort pumps: active, champion version 1\n");
    expect(parse(stdout)).toEqual({ plan: parse(shown.stdout).plan });
    expect((await flead("show", "0".repeat(64))).stderr).toContain("there is no plan 000");
    expect((await flead("show")).status).toBe(2);
  });

  test("activate tries the plan, shows it, and makes the cohort learn by it; by force it tries none", async () => {
    const { status, stdout } = await flead("activate", slower.path, "--reason", "slower pumps");
    expect(status).toBe(0);
    expect(stdout).toContain("for cohort pumps passed");
    expect(stdout.trimEnd().split("\n").at(-1)).toBe(
      `cohort pumps: plan ${slower.planId}, champion version 2; it leaves plan ${first.planId}`,
    );
    const forced = await flead("activate", noisier.path, "--reason", "the streams come later", "--force");
    expect(forced).toMatchObject({ status: 0, stdout: expect.stringMatching(/^cohort pumps: plan .* version 3/) });
    expect(await activePlan()).toBe(noisier.planId);
  });

  test("a new cohort has no streams: its plan passes on its graphs alone, and that is said", async () => {
    const { status, stdout } = await flead("activate", fans.path, "--reason", "fans, too");
    expect(status).toBe(0);
    expect(stdout).toContain("there is no cohort fans yet: activation begins it");
    expect(stdout).toContain("not evaluated: the cohort has no frozen held-out stream");
  });
});

describe("the API", () => {
  test("shows a plan's dry runs in short, and one of them stream by stream", async () => {
    const { body: plan } = await call(`plans/${slower.planId}`);
    expect(plan.manifest).toMatchObject({ commissioningRows: 120, featureCount: expect.any(Number) });
    expect(plan.dryRuns).toHaveLength(2);
    const [newest] = plan.dryRuns;
    expect(newest).toMatchObject({ cohort: "pumps", passed: true, begin: { trained: false, scores: { n: 460 } } });
    expect(newest).not.toHaveProperty("streams");
    const { body: run } = await call(`plans/${slower.planId}/dry-runs/${newest.dryRunId}`);
    expect(run.streams.map(({ stream }: Json) => stream)).toEqual(["pump-1", "pump-2"]);
    expect((await call(`plans/${first.planId}/dry-runs/${newest.dryRunId}`)).status).toBe(404);
  });

  test.each([
    ["0".repeat(64), { cohort: "pumps" }, 404],
    [first.planId, {}, 422],
    [first.planId, { cohort: "../pumps" }, 422],
    ["x", { cohort: "pumps" }, 400],
  ])("POST plans/%s/dry-run of %o: %i", async (planId, body, status) => {
    expect((await call(`plans/${planId}/dry-run`, body)).status).toBe(status);
  });

  test("one that is not tried is refused with what to do", async () => {
    const answer = await call("cohorts/fans/activate", { planId: first.planId, reason: "as pumps" });
    expect(answer).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining(`POST /api/v1/plans/${first.planId}/dry-run`) },
    });
  });
});

test("a coordinator that is started with another plan takes it up, and tries it then", async () => {
  await coordinator.close();
  coordinator = await start(started.path);
  expect(await activePlan()).toBe(started.planId);
  const [run] = await eventually("it was tried", async () => {
    const { dryRuns } = (await call(`plans/${started.planId}`)).body;
    return dryRuns.length > 0 ? dryRuns : undefined;
  });
  expect(run).toMatchObject({ cohort: "pumps", actor: "coordinator", passed: true });
});
