import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { packageRoot } from "../../runtime/package-root.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-stuck");

interface Running {
  readonly child: ChildProcess;
  /** Lines of its log, parsed. */
  readonly log: Record<string, unknown>[];
}

function startAgent(name: string, variables: Readonly<Record<string, string>>): Running {
  const child = spawn(process.execPath, [join(packageRoot, "dist/cli/flead.js"), "agent"], {
    env: {
      ...process.env,
      FLEAD_GATEWAY_ID: "gw-1",
      FLEAD_MQTT_URL: "mqtt://127.0.0.1:1",
      FLEAD_COORDINATOR: "127.0.0.1:1",
      FLEAD_DATA_DIR: join(folder, name),
      FLEAD_AGENT_HTTP: "off",
      ...variables,
    },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true, // a group of its own, as a service has
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const log: Record<string, unknown>[] = [];
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on("line", (line) => log.push(JSON.parse(line)));
  return { child, log };
}

/** Its first word is that nobody is there. */
const isUp = ({ log }: Running) => eventually("the agent runs", () => (log.length > 0 ? true : undefined));

test("an agent whose loop stands still is killed by its guard, which says so in the log", async () => {
  const agent = startAgent("stopped", { FLEAD_STUCK_SECONDS: "5" });
  await isUp(agent);
  const exited = once(agent.child, "exit");
  agent.child.kill("SIGSTOP"); // nothing in it runs any more, as in a loop that never ends
  expect(await exited).toEqual([null, "SIGKILL"]);
  const said = await eventually("the guard's line", () => agent.log.find(({ level }) => level === 60));
  expect(said).toMatchObject({ program: "flead-agent", msg: expect.stringContaining("stood still for 5 s") });
});

test("an agent whose loop goes round lives on, and its guard ends with it", async () => {
  const agent = startAgent("steady", { FLEAD_STUCK_SECONDS: "6" });
  await isUp(agent);
  const sinceMs = performance.now();
  await eventually("twice as long", () => (performance.now() - sinceMs > 13_000 ? true : undefined));
  expect([agent.child.exitCode, agent.child.signalCode], "it still runs").toEqual([null, null]);
  const closed = once(agent.child, "close"); // its standard error is the guard's too
  process.kill(-(agent.child.pid as number), "SIGTERM"); // all of the group, as a service manager does
  expect(await closed).toEqual([0, null]);
  expect(agent.log.filter(({ kind }) => kind === "operation")).toEqual([]);
});

/** What a service manager hears on its socket. */
async function listenAsSystemd(python: string, path: string): Promise<string[]> {
  const program = `
import socket, sys
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(sys.argv[1])
print("listening", flush=True)
while True: print(heard.recv(4096).decode().strip(), flush=True)`;
  const child = spawn(python, ["-c", program, path], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const heard: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => heard.push(line));
  await eventually("it listens", () => (heard.includes("listening") ? true : undefined));
  return heard;
}

test("systemd hears that the agent is ready, alive and stopping", async (context) => {
  const [notify, python] = [debianProgram("systemd-notify"), debianProgram("python3")];
  if (notify === null || python === null) return context.skip("systemd-notify and python3 are not both here");
  const socket = join(folder, "notify");
  const heard = await listenAsSystemd(python, socket);
  const agent = startAgent("notifying", { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "2000000" });
  const count = (state: string) => heard.filter((line) => line === state).length;
  await eventually("three signs of life", () => (count("WATCHDOG=1") >= 3 ? true : undefined));
  expect(count("READY=1")).toBe(1);
  const exited = once(agent.child, "exit");
  agent.child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
  expect(count("STOPPING=1")).toBe(1);
});
