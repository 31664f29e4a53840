// The benchmark's broker: mosquitto, as sites have it, on a free port.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { pause } from "../../runtime/retry.ts";

export interface BenchBroker {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

const START_MS = 10_000;
const ASK_EVERY_MS = 20;

/** Throws where there is no mosquitto. */
export async function startMosquitto(folder: string): Promise<BenchBroker> {
  const port = await freePort();
  const file = join(folder, "mosquitto.conf");
  // A subscriber that is slower than the flood loses messages; what it judges is what is counted.
  const lines = [
    `listener ${port} 127.0.0.1`,
    "allow_anonymous true",
    "persistence false",
    "max_queued_messages 20000",
    // Otherwise readings at QoS 0, which nothing answers, wait in the broker for up to 40 ms.
    "set_tcp_nodelay true",
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  const child = spawn("mosquitto", ["-c", file], {
    stdio: "ignore",
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` },
  });
  const failed = once(child, "error").then(([cause]) => {
    throw new Error("mosquitto can't be started; it is what the benchmark measures with", { cause });
  });
  failed.catch(() => undefined);
  await Promise.race([failed, answers(port)]);
  return {
    url: `mqtt://127.0.0.1:${port}`,
    pid: child.pid as number,
    stop: async () => {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

async function answers(port: number): Promise<void> {
  const deadlineMs = performance.now() + START_MS;
  while (performance.now() < deadlineMs) {
    const socket = connect({ port, host: "127.0.0.1" });
    const open = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    await pause(ASK_EVERY_MS);
  }
  throw new Error(`mosquitto does not answer within ${START_MS} ms`);
}
