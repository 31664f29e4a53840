// The broker of production, on a free port of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

export interface Mosquitto {
  readonly port: number;
  readonly url: string;
  /** It keeps its connections and says nothing any more. */
  freeze(): void;
  stop(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Listener {
  /** Of its configuration, after its listener. */
  readonly lines?: readonly string[];
  /** Of a broker that has stopped, to take its place. */
  readonly port?: number;
}

/** It says how it is every second, on $SYS. */
export async function startMosquitto(
  program: string,
  folder: string,
  { lines = ["allow_anonymous true"], port: given }: Listener = {},
): Promise<Mosquitto> {
  const port = given ?? (await freePort());
  const file = join(folder, `mosquitto-${port}.conf`);
  const settings = [`listener ${port} 127.0.0.1`, ...lines, "persistence false", "sys_interval 1", ""];
  writeFileSync(file, settings.join("\n"));
  const child = spawn(program, ["-c", file], { stdio: "ignore" });
  await eventually("mosquitto answers", () => answers(port));
  return { port, url: `mqtt://127.0.0.1:${port}`, freeze: () => void child.kill("SIGSTOP"), stop: () => ended(child) };
}

export function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
    child.kill("SIGCONT"); // a frozen one hears nothing before
  });
}

function answers(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(socket.destroy() && true));
    socket.once("error", () => resolve(undefined));
  });
}
