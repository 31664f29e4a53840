// There is no container engine here: an image's last stage is laid out in a folder instead, and its command is run there.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { packageRoot } from "../../runtime/package-root.ts";
import { command, copies, readDockerfile } from "../support/dockerfile.ts";
import { temporaryFolder } from "../support/temp.ts";

const run = promisify(execFile);
const scratch = temporaryFolder("image");
const deploy = join(packageRoot, "deploy");
const path = `${dirname(process.execPath)}:${process.env.PATH}`;
/** Directly in the temporary folder: PostgreSQL's own user has to reach it. */
const coordinatorData = temporaryFolder("image-data");
const built = join(scratch, "dist");

beforeAll(async () => {
  await run(join(packageRoot, "node_modules/.bin/tsc"), [
    "-p",
    join(packageRoot, "tsconfig.build.json"),
    "--outDir",
    built,
  ]);
}, 120_000);

const started: ChildProcess[] = [];

afterAll(async () => {
  for (const child of started.filter(({ exitCode }) => exitCode === null)) await stop(child);
});

/** What the last stage's COPY lines put into the image, with the modules that are installed here. */
function layOut(dockerfile: string): { folder: string; words: string[] } {
  const stage = readDockerfile(join(deploy, dockerfile)).at(-1);
  if (stage === undefined) throw new Error(`${dockerfile} has no stage`);
  const folder = join(scratch, dirname(dockerfile));
  mkdirSync(folder);
  for (const { sources, target } of copies(stage)) {
    for (const source of sources) {
      const to = join(folder, target.endsWith("/") ? join(target, basename(source)) : target);
      const name = basename(source);
      if (name === "node_modules") symlinkSync(join(packageRoot, name), to);
      else
        cpSync(name === "dist" ? built : join(packageRoot, source.replace(/^\/app\//, "")), to, {
          recursive: true,
        });
    }
  }
  return { folder, words: command(stage) };
}

async function start(image: { folder: string; words: string[] }, variables: Record<string, string>) {
  const [program = "", ...args] = image.words;
  const env = { PATH: path, ...variables };
  const child = spawn(program, args, { cwd: image.folder, env, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  started.push(child);
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    log += chunk;
  });
  const ended = once(child, "exit").then(() => {
    throw new Error(`it ended by itself: ${log}`);
  });
  const [message] = await Promise.race([once(child, "message"), ended]);
  ended.catch(() => undefined);
  return { child, ready: (message as { ready: { url?: string } }).ready };
}

async function stop(child: ChildProcess): Promise<number | null> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  return (await exited)[0] as number | null;
}

describe("the coordinator's image", () => {
  test("holds all that the coordinator, its page and Kubernetes' probes need", async () => {
    const image = layOut("k8s/Dockerfile");
    const pod = parse(readFileSync(join(deploy, "k8s/deployment.yaml"), "utf8")).spec.template.spec.containers[0];
    const values = pod.env.flatMap(({ name, value }: { name: string; value?: string }) =>
      value ? [[name, value]] : [],
    );
    // What the pod mounts: the volume and the secret.
    mkdirSync(join(scratch, "held-out"));
    const signingKey = join(scratch, "signing-key.pem");
    const { privateKey } = generateKeyPairSync("ed25519");
    writeFileSync(signingKey, privateKey.export({ type: "pkcs8", format: "pem" }));
    const { child, ready } = await start(image, {
      ...Object.fromEntries(values),
      FLEAD_HELD_OUT: join(scratch, "held-out"),
      FLEAD_SIGNING_KEY_FILE: signingKey,
      FLEAD_DATA_DIR: coordinatorData,
      FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
      FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
    });
    const url = new URL(ready.url ?? "");
    const probe = ({ exec }: { exec: { command: string[] } }) => {
      const [program = "", ...args] = exec.command;
      return run(program, args, { cwd: image.folder, env: { PATH: path, FLEAD_HTTP_ADDRESS: url.host } });
    };
    const page = await fetch(url);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain("page.js");
    const health = await (await fetch(new URL("/api/v1/health", url))).json();
    expect(health).toMatchObject({ database: "up", cohorts: [{ cohort: "pumps" }] });
    for (const kind of ["startupProbe", "readinessProbe", "livenessProbe"]) await probe(pod[kind]);
    expect(await stop(child)).toBe(0);
    await expect(probe(pod.livenessProbe)).rejects.toThrow(/ECONNREFUSED/);
  }, 120_000);
});

describe("the agent's image", () => {
  test("holds all that the agent needs, and names the gateway by its device's UUID", async () => {
    const image = layOut("balena/Dockerfile");
    const { environment } = parse(readFileSync(join(deploy, "balena/docker-compose.yml"), "utf8")).services.agent;
    const { child } = await start(image, {
      ...environment,
      FLEAD_DATA_DIR: join(scratch, "agent"),
      FLEAD_MQTT_URL: "mqtt://127.0.0.1:1",
      FLEAD_COORDINATOR: "127.0.0.1:1",
      BALENA_DEVICE_UUID: "0123456789abcdef0123456789abcdef",
    });
    expect(await stop(child)).toBe(0);
  }, 120_000);

  test("an agent without any name says which variable is missing", async () => {
    const stage = readDockerfile(join(deploy, "balena/Dockerfile")).at(-1);
    const [program = "", ...args] = stage ? command(stage) : [];
    const ending = run(program, args, { cwd: join(scratch, "balena"), env: { PATH: path } });
    await expect(ending).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("FLEAD_GATEWAY_ID") });
  });
});

test("the native modules that are left after pruning are this platform's, and load", async () => {
  const folder = join(scratch, "pruned");
  const modules = join(folder, "node_modules");
  for (const name of ["onnxruntime-node", "better-sqlite3"]) {
    cpSync(join(packageRoot, "node_modules", name), join(modules, name), { recursive: true });
  }
  symlinkSync(join(packageRoot, "node_modules"), join(scratch, "node_modules"));
  await run("sh", [join(deploy, "prune-platforms.sh")], { cwd: folder, env: { PATH: path } });
  const native = readdirSync(modules, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".node"));
  expect(native.sort()).toEqual([
    `better-sqlite3/prebuilds/linux-${process.arch}.node`,
    expect.stringMatching(
      new RegExp(`^onnxruntime-node/bin/napi-v\\d+/linux/${process.arch}/onnxruntime_binding\\.node$`),
    ),
  ]);
  const use = `new (require("better-sqlite3"))(":memory:"); console.log(require.resolve("onnxruntime-node"), typeof require("onnxruntime-node").InferenceSession)`;
  const { stdout } = await run("node", ["-e", use], { cwd: folder, env: { PATH: path } });
  expect(stdout).toContain(modules);
  expect(stdout).toContain("function");
}, 60_000);
