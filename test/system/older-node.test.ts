// Under an older Node `flead` is a process that starts the pinned one: to whoever signals or kills it, they are one.
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("older-node");
/** What the program sees of an older Node; the pinned one is started without it. */
const OLDER = `data:text/javascript,Object.defineProperty(process, "versions", { value: { node: "20.0.0" } })`;

interface Started {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Resolves when the last of its processes has ended: each holds its output. */
  readonly ended: Promise<unknown>;
}

/** As a terminal starts it: in a process group of its own. Resolves at its log's line with `message`. */
async function start(message: string, args: readonly string[]): Promise<Started> {
  const flead = ["--import", OLDER, join(packageRoot, "dist/cli/flead.js")];
  const started = spawn(process.execPath, [...flead, ...args], { detached: true, stdio: ["ignore", "ignore", "pipe"] });
  onTestFinished(() => void started.kill("SIGKILL"));
  const ended = once(started.stderr, "end");
  let log = "";
  await new Promise<void>((resolve, reject) => {
    started.once("exit", () => reject(new Error(`it ended by itself: ${log}`)));
    started.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
      if (log.includes(message)) resolve();
    });
  });
  return { process: started, pid: started.pid as number, ended };
}

async function startCoordinator(name: string): Promise<Started & { readonly hasDatabase: () => boolean }> {
  const dataDir = join(folder, name);
  const ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const plan = join(packageRoot, "plans/pumps.yaml");
  const started = await start("is ready", ["coordinator", "--plan", plan, "--data-dir", dataDir, ...ports]);
  const hasDatabase = () => existsSync(join(dataDir, "postgres/cluster/postmaster.pid"));
  expect(hasDatabase()).toBe(true);
  return { ...started, hasDatabase };
}

test("a terminal's Ctrl-C, which goes to the whole group, stops a coordinator and its database", async () => {
  const coordinator = await startCoordinator("interrupted");
  const exited = once(coordinator.process, "exit");
  process.kill(-coordinator.pid, "SIGINT");
  expect(await exited).toEqual([0, null]);
  expect(coordinator.hasDatabase()).toBe(false);
});

test("a coordinator whose group is killed stops, and its database", async () => {
  const coordinator = await startCoordinator("killed");
  process.kill(-coordinator.pid, "SIGKILL");
  await coordinator.ended;
  expect(coordinator.hasDatabase()).toBe(false);
});

test("a coordinator whose parent goes while it starts stops once it is there, and its database", async () => {
  const dataDir = join(folder, "orphan");
  const plan = join(packageRoot, "plans/pumps.yaml");
  const ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const coordinator = fork(
    join(packageRoot, "dist/cli/flead.js"),
    ["coordinator", "--plan", plan, "--data-dir", dataDir, ...ports],
    { stdio: ["ignore", "ignore", "ignore", "ipc"] },
  );
  onTestFinished(() => void coordinator.kill("SIGKILL"));
  const exited = once(coordinator, "exit");
  const pidFile = join(dataDir, "postgres/cluster/postmaster.pid");
  await eventually("its database begins", () => existsSync(pidFile) || undefined);
  coordinator.disconnect();
  expect(await exited).toEqual([0, null]);
  expect(existsSync(pidFile)).toBe(false);
});
