// The embedded PostgreSQL ends by itself under a coordinator that runs.
import { spawn } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { pumpPlan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const compiled = compilePlan(pumpPlan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);

interface Running {
  readonly url: string;
  readonly grpc: string;
  readonly dataDir: string;
  /** Exit code and log. */
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  stop(): void;
}

const running: Running[] = [];
afterEach(async () => {
  for (const each of running.splice(0)) {
    each.stop();
    await each.ended;
  }
});

async function start(name: string): Promise<Running> {
  const folder = temporaryFolder(name);
  const plan = join(folder, "pumps.yaml");
  writeFileSync(plan, JSON.stringify({ cohort: "pumps", plan: pumpPlan })); // JSON is YAML
  const dataDir = join(folder, "data");
  const addresses = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const command = [join(packageRoot, "cli/flead.ts"), "coordinator", "--plan", plan, "--data-dir", dataDir];
  const child = spawn(process.execPath, [...command, ...addresses], {
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  const ended = Promise.all([
    new Promise<number | null>((resolve) => child.once("exit", resolve)),
    text(child.stdout as NodeJS.ReadableStream),
    text(child.stderr as NodeJS.ReadableStream),
  ]).then(([code, stdout, stderr]) => ({ code, stdout, stderr }));
  const ready = await new Promise<{ grpc: string; url: string }>((resolve, reject) => {
    child.once("message", (message: { ready: { grpc: string; url: string } }) => resolve(message.ready));
    void ended.then((end) => reject(new Error(`it ended before it served: ${JSON.stringify(end)}`)));
  });
  const found = { ...ready, dataDir, ended, stop: () => child.kill("SIGTERM") };
  running.push(found);
  return found;
}

const cluster = ({ dataDir }: Running) => join(dataDir, "postgres/cluster");
const serverPid = (of: Running) => Number(readFileSync(join(cluster(of), "postmaster.pid"), "utf8").split("\n")[0]);

test("a server that is killed is started again: what was acknowledged is there, and updates go on", async () => {
  const coordinator = await start("embedded-killed");
  const gateway = new GatewayClient(`localhost:${coordinator.grpc.split(":").at(-1)}`, "gw-1");
  await gateway.hello("pumps");
  expect((await gateway.push(anUpdate("pumps", planId, parameters))).status).toBe(UpdateStatus.ACCEPTED);
  process.kill(serverPid(coordinator), "SIGKILL");
  const next = anUpdate("pumps", planId, parameters);
  const status = await eventually("the next update is stored", async () => {
    const answer = await gateway.pushAgain(next);
    return answer.status === UpdateStatus.RETRY ? undefined : answer.status;
  });
  expect(status).toBe(UpdateStatus.ACCEPTED);
  const updates = await eventually("its health is good again", async () => {
    const response = await fetch(new URL("/api/v1/health", coordinator.url));
    const { cohorts } = (await response.json()) as { cohorts: { updates: { acknowledged: number } }[] };
    return response.ok ? cohorts[0]?.updates : undefined;
  });
  expect(updates).toMatchObject({ acknowledged: 2 });
  gateway.close();
});

test("a server that can't be started again ends its coordinator, which says why, with exit code 1", async () => {
  const coordinator = await start("embedded-gone");
  const pid = serverPid(coordinator);
  renameSync(cluster(coordinator), `${cluster(coordinator)}.gone`);
  process.kill(pid, "SIGKILL");
  const { code, stderr } = await coordinator.ended;
  expect(code).toBe(1);
  expect(stderr).toContain(`flead: the embedded PostgreSQL of ${coordinator.dataDir} does not come back`);
});
