import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { DemoReport } from "../../cli/demo/report.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { temporaryFolder } from "../support/temp.ts";

const run = promisify(execFile);
const flead = join(packageRoot, "dist/cli/flead.js");
const folder = temporaryFolder("demo");

test("the demo ends by itself after its rounds with a report of what was measured", async () => {
  const file = join(folder, "report.json");
  const { stdout } = await run(process.execPath, [
    flead,
    "demo",
    "--rounds",
    "4",
    "--seed",
    "7",
    "--speed",
    "40",
    "--json",
    file,
  ]);
  const report = JSON.parse(readFileSync(file, "utf8")) as DemoReport;

  expect(report.seed).toBe(7);
  expect(report.rounds.map(({ globalVersion }) => globalVersion)).toEqual([2, 3, 4, 5]);
  for (const { verdict, updates, gateways, heldOut, baselines } of report.rounds) {
    expect(["promoted", "rejected"]).toContain(verdict);
    expect(updates).toBeGreaterThanOrEqual(20);
    expect(gateways).toBeGreaterThanOrEqual(2);
    expect(baselines?.alwaysAlarm).toMatchObject({ n: heldOut?.n, recall: 1 });
    expect(baselines?.alwaysNormal).toMatchObject({ n: heldOut?.n, recall: 0, precision: null });
    expect(baselines?.zScore.n).toBe(heldOut?.n);
    expect(heldOut?.vusPr).toBeGreaterThan(0);
    expect(baselines?.alwaysNormal.events).toMatchObject({ events: heldOut?.events?.events, episodes: 0, recall: 0 });
  }
  // Measured numbers move as learning does, and learning does: what the model can't explain of normal rows shrinks.
  expect(new Set(report.rounds.map(({ heldOut }) => heldOut?.f1)).size).toBe(report.rounds.length);
  const loss = (index: number) => report.rounds.at(index)?.heldOut?.loss ?? Number.NaN;
  expect(loss(-1)).toBeLessThan(loss(0));

  const { trained, acknowledged, aggregated, refused } = report.updates;
  expect(trained).toBe(acknowledged + refused);
  expect(aggregated).toBe(report.rounds.reduce((sum, { updates }) => sum + updates, 0));
  expect(acknowledged).toBeGreaterThanOrEqual(aggregated);
  expect(report.alerts.raised).toBeGreaterThan(0);
  expect(report.alerts.onFaultyDevices).toBeLessThanOrEqual(report.alerts.raised);
  expect(stdout).toContain("Trivial answers on the same rows:");
  const found = report.rounds.at(-1)?.heldOut?.events;
  expect(stdout).toContain(`events ${found?.detectedEvents}/${found?.events} found`);
});

test("a demo that cannot start says which program failed, and leaves its log to be read", async () => {
  const env = { ...process.env, FLEAD_LOG_LEVEL: "shouting" };
  const done = await run(process.execPath, [flead, "demo", "--rounds", "1"], { env, timeout: 60_000 }).catch(
    (error) => error,
  );
  expect(done.code).toBe(1);
  const log = /coordinator ended by itself; its log is (\S+)/.exec(done.stderr)?.[1] ?? "";
  expect(readFileSync(log, "utf8")).toMatch(/FLEAD_LOG_LEVEL: .*shouting/);
  rmSync(dirname(log), { recursive: true });
});

test("Ctrl-C ends the demo while it starts, and nothing of it is left", async () => {
  const temp = join(folder, "interrupted");
  mkdirSync(temp);
  chmodSync(temp, 0o711);
  const child = spawn(process.execPath, [flead, "demo"], {
    env: { ...process.env, TMPDIR: temp },
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGINT");
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(readdirSync(temp)).toEqual([]);
});

test.each([
  [["--help"], 0, /demo.*coordinator.*agent.*replay/s],
  [["demo", "--help"], 0, /--rounds <n>.*--json <file>.*--seed <n>/s],
  [["coordinator", "--help"], 0, /FLEAD_PLANS.*FLEAD_HELD_OUT/s],
  [["--version"], 0, /^\d+\.\d+\.\d+/],
  [[], 2, /Usage: flead/],
  [["fly"], 2, /unknown command 'fly'/],
  [["demo", "--rounds", "0"], 2, /must be a whole number from 1 to 10000/],
  [["demo", "--json", "/nowhere/report.json"], 2, /--json: \/nowhere\/report.json cannot be written/],
  [["coordinator", "--held-out", "nowhere"], 2, /FLEAD_HELD_OUT: there is no folder "nowhere"/],
  [["agent"], 2, /FLEAD_GATEWAY_ID: must be set/],
  [["agent", "--gateway-id", "../x"], 2, /FLEAD_GATEWAY_ID: gateway id "..\/x" is not valid/],
  [["agent", "--gateway-id", "g", "--coordinator", "nowhere"], 2, /FLEAD_COORDINATOR: must be host:port \("nowhere"\)/],
  [["coordinator", "--grpc", "0.0.0.0:7443"], 2, /FLEAD_GRPC_ADDRESS: must be on loopback/],
  [["coordinator", "--plan", "nowhere.yaml"], 1, /plan nowhere.yaml: ENOENT/],
  [["coordinator", "--data-dir", "/dev/null/x"], 1, /ENOTDIR/],
])("flead %j exits with %i and says why", async (args, code, message) => {
  const done = await run(process.execPath, [flead, ...args], { cwd: folder, timeout: 60_000 }).catch((error) => error);
  expect([done.code ?? 0, `${done.stdout}${done.stderr}`]).toEqual([code, expect.stringMatching(message)]);
});

test("a secret in a variable is not printed with the error about it", async () => {
  const env = { ...process.env, DATABASE_URL: "mysql://root:hunter2@db/flead" };
  const done = await run(process.execPath, [flead, "coordinator"], { cwd: folder, env }).catch((error) => error);
  expect(done.stderr).toMatch(/DATABASE_URL: must begin with postgres:\/\//);
  expect(done.stderr).not.toContain("hunter2");
});
