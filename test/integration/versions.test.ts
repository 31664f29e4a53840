// An operator's actions over REST and by `flead model`, with gateways in real sessions.
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { ModelProto } from "../../proto/gen/onnx/onnx.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import type { Json } from "../support/json.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("versions");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const COHORTS = ["rolled", "pinned", "told", "listed"];

let coordinator: Coordinator;
let clients: GatewayClient[] = [];

beforeAll(async () => {
  mkdirSync(join(folder, "held-out"));
  writeCsv(join(folder, "held-out/pinned"), plantStream(0, 700, 300));
  const files = COHORTS.map((cohort) => {
    const file = join(folder, `${cohort}.yaml`);
    const federation = {
      round: { intervalMs: 0, updates: 2, deadlineMs: 3_600_000 },
      rule: { kind: "fedavg" },
      gate: { margin: 1 },
    };
    writeFileSync(file, JSON.stringify({ cohort, plan, federation })); // JSON is YAML
    return file;
  });
  const config = readCoordinatorConfig({
    FLEAD_PLANS: files.join(","),
    FLEAD_HELD_OUT: join(folder, "held-out"),
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, createLogger("test", "silent"));
});
beforeEach(() => {
  for (const client of clients) client.close();
  clients = [];
});
afterAll(async () => {
  for (const client of clients) client.close();
  await coordinator.close();
});

async function connect(gatewayId: string, cohort: string): Promise<GatewayClient> {
  const client = new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gatewayId);
  clients.push(client);
  await client.hello(cohort, planId);
  return client;
}

async function call(path: string, body?: unknown, headers: Record<string, string> = {}) {
  const request =
    body === undefined
      ? { headers }
      : {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body: typeof body === "string" ? body : JSON.stringify(body),
        };
  const response = await fetch(new URL(`/api/v1/${path}`, coordinator.url), request);
  return { status: response.status, body: (await response.json()) as Json };
}

const model = (gateway: GatewayClient, version: bigint) =>
  gateway.hears("globalModel", ({ globalVersion }) => globalVersion === version);

/** Both gateways' updates on `base`; resolves when the round is there. */
async function round(cohort: string, pair: readonly GatewayClient[], base: bigint, version: number) {
  for (const gateway of pair) await gateway.push(anUpdate(cohort, planId, parameters, { baseVersion: base }));
  return eventually(`version ${version} of ${cohort}`, async () => {
    const { items } = (await call(`rounds?cohort=${cohort}`)).body;
    return items.find(({ globalVersion }: Json) => globalVersion === version);
  });
}

test("a roll back reaches the gateways as a new version with the old weights, and updates on what it left are refused", async () => {
  const pair = [await connect("a", "rolled"), await connect("b", "rolled")] as const;
  await round("rolled", pair, 1n, 2);
  await round("rolled", pair, 2n, 3);
  const { status, body } = await call("models/rolled/2/roll-back", { reason: "version 3 alarms all day", champion: 3 });
  expect({ status, body }).toEqual({ status: 200, body: { cohort: "rolled", championVersion: 4, pin: null } });
  for (const gateway of pair) {
    const [old, back] = [await model(gateway, 2n), await model(gateway, 4n)];
    expect(back.weights).toEqual(old.weights);
    expect(back).toMatchObject({ trained: true, planId });
  }
  const late = await pair[0].push(anUpdate("rolled", planId, parameters, { baseVersion: 3n }));
  expect(late).toMatchObject({ status: UpdateStatus.REFUSED, reason: expect.stringMatching(/^rolled_back_base/) });
  const next = await round("rolled", pair, 4n, 5);
  expect(next).toMatchObject({ baseVersion: 4, verdict: "promoted" });
  const { parents } = (await call("models/rolled/5/lineage")).body;
  expect(parents.items.map((parent: Json) => [parent.globalVersion, parent.status, parent.originVersion])).toEqual([
    [4, "champion", 2],
    [3, "rolled_back", null],
    [2, "champion", null],
    [1, "champion", null],
  ]);
  expect((await call("models/rolled/4")).body).toMatchObject({
    actor: "admin (loopback)",
    reason: "version 3 alarms all day",
  });
});

test("a pinned champion stays through a candidate that passes the gate, until it is unpinned", async () => {
  const pair = [await connect("a", "pinned"), await connect("b", "pinned")] as const;
  await round("pinned", pair, 1n, 2);
  expect((await call("cohorts/pinned/pin", { reason: "acceptance test" })).body.pin).toEqual({
    by: "admin (loopback)",
    reason: "acceptance test",
  });
  const candidate = await round("pinned", pair, 2n, 3);
  expect(candidate).toMatchObject({ verdict: "candidate", baseVersion: 2, heldOut: { n: 450 } });
  expect(candidate.reason).toMatch(/^quality .*; the champion is pinned by admin \(loopback\): acceptance test$/);
  const told = await pair[0].hears("feedback", ({ globalVersion }) => globalVersion === 3n);
  expect(told).toMatchObject({ promoted: false, reason: candidate.reason });
  expect(pair[0].heard.some((m) => m.$case === "globalModel" && m.value.globalVersion === 3n)).toBe(false);
  const overview = async () => (await call("health")).body.cohorts.find(({ cohort }: Json) => cohort === "pinned");
  expect(await overview()).toMatchObject({ championVersion: 2, pin: { reason: "acceptance test" } });

  expect((await call("cohorts/pinned/unpin", { reason: "passed" })).status).toBe(200);
  await round("pinned", pair, 2n, 4);
  await model(pair[0], 4n);
  expect(await overview()).toMatchObject({ championVersion: 4, pin: null });
});

test("a version's .onnx is downloaded under its name, with the weights in it", async () => {
  const response = await fetch(new URL("/api/v1/models/told/1/model.onnx", coordinator.url));
  expect(response.headers.get("content-disposition")).toBe('attachment; filename="told-v1.onnx"');
  expect(response.headers.get("content-type")).toBe("application/octet-stream");
  const { graph } = ModelProto.decode(new Uint8Array(await response.arrayBuffer()));
  expect(graph?.input.map(({ name }) => name)).toEqual(["x"]);
  const weights = graph?.initializer.find(({ name }) => name === "weights");
  expect(weights?.rawData.byteLength).toBe(4 * parameters);
});

describe("what is refused", () => {
  const why = { reason: "why" };
  test.each([
    ["models/told/7/promote", why, 404, "cohort told has no version 7"],
    ["models/nobody/1/roll-back", why, 404, "there is no cohort nobody"],
    ["models/told/1/roll-back", why, 409, "version 1 is the champion"],
    ["cohorts/told/unpin", why, 409, "no version is pinned"],
    ["cohorts/told/pin", { ...why, champion: 9 }, 409, "the champion is version 1 by now, not 9"],
    ["cohorts/told/pin", {}, 422, "reason"],
    ["cohorts/told/pin", { reason: "   " }, 422, "reason: say why"],
    ["cohorts/told/pin", { reason: "x".repeat(501) }, 422, "reason"],
    ["cohorts/told/pin", { ...why, force: true }, 422, "force"],
    ["cohorts/told/pin", "{", 400, "JSON"],
    ["models/told/0/promote", why, 400, "version"],
    ["models/told/1e99/promote", why, 400, "version"],
    ["cohorts/a%20b/pin", why, 400, "cohort"],
    ["gateways/nobody/commands", { action: "send_report" }, 404, "there is no gateway nobody"],
    ["gateways/nobody/commands", { action: "explode" }, 422, "action"],
    ["gateways/..%2F/commands", { action: "send_report" }, 400, "gatewayId"],
  ])("POST %s, case %$: a problem document", async (path, body, status, detail) => {
    const answer = await call(path, body);
    expect(answer).toMatchObject({ status, body: { status, detail: expect.stringContaining(detail) } });
  });

  test.each([
    ["a form", { "content-type": "application/x-www-form-urlencoded" }, 415],
    ["plain text, as a page of another origin may send", { "content-type": "text/plain" }, 415],
    ["JSON from a page of another origin", { origin: "http://attacker.example" }, 403],
    ["JSON from a page of another port", { origin: "http://127.0.0.1:1" }, 403],
  ])("%s pins nothing", async (_, headers, status) => {
    expect((await call("cohorts/told/pin", why, headers)).status).toBe(status);
    const { cohorts } = (await call("health")).body;
    expect(cohorts.find(({ cohort }: Json) => cohort === "told").pin).toBeNull();
  });

  test("a page of this server may act", async () => {
    const origin = new URL(coordinator.url).origin;
    expect((await call("cohorts/told/unpin", why, { origin })).status).toBe(409);
  });
});

test("a gateway's candidate is shown with its trial, and only what the gateway could do is passed on to it", async () => {
  const gateway = await connect("slotted", "told");
  const order = { action: "activate_model", cohort: "told", globalVersion: 7 };
  const path = "gateways/slotted/commands";
  const refused = (detail: string) => ({ status: 409, body: { detail: `gateway slotted can't do it: ${detail}` } });
  expect(await call(path, order)).toMatchObject(refused("version 7 of told is not its candidate, which is none"));
  expect(await call(path, { action: "roll_back_model", cohort: "told" })).toMatchObject(
    refused("it keeps no model of told from before the active one"),
  );
  expect(await call(path, { ...order, cohort: "other" })).toMatchObject(refused("it has no cohort other; it has told"));
  expect((await call(path, { ...order, globalVersion: 0 })).status).toBe(422);
  const trial = {
    rows: 200,
    change: { $case: "ratio", value: 7.5 },
    labelledRows: 0,
    labelledDifference: undefined,
  } as const;
  const held = { cohort: "told", planId, globalVersion: 6n, devices: ["pump-1"], previousVersion: 5n };
  gateway.say({
    $case: "report",
    value: {
      reportId: "held",
      clock: "synced",
      episodes: [],
      health: undefined,
      statistics: [],
      summaries: [],
      cohorts: [{ ...held, candidate: { globalVersion: 7n, trial } }],
    },
  });
  await gateway.hears("reportResult");
  const shown = (await call("gateways/slotted")).body;
  expect(shown.cohorts).toMatchObject([
    {
      globalVersion: 6,
      previousVersion: 5,
      candidate: {
        globalVersion: 7,
        trial: { rows: 200, ratio: 7.5, difference: null, labelledRows: 0, labelledDifference: null },
      },
    },
  ]);
  expect((await call("gateways")).body.items.find(({ gatewayId }: Json) => gatewayId === "slotted")).toEqual(shown);
  for (const [command, action] of [
    [order, { $case: "activateModel", value: { cohort: "told", globalVersion: 7n } }],
    [
      { action: "roll_back_model", cohort: "told" },
      { $case: "rollBackModel", value: { cohort: "told" } },
    ],
  ]) {
    const { status, body } = await call(path, command);
    expect(status).toBe(202);
    const heard = await gateway.hears("command", ({ commandId }) => commandId === body.commandId);
    expect(heard.action).toEqual(action);
  }
  expect(await call("gateways/nobody")).toMatchObject({ status: 404, body: { detail: "there is no gateway nobody" } });
});

test("a connected gateway hears a command under the id that was answered; one that left does not", async () => {
  const gateway = await connect("commanded", "told");
  for (const [action, heard] of [
    ["send_report", "sendReport"],
    ["reconnect", "drain"],
  ] as const) {
    const { status, body } = await call("gateways/commanded/commands", { action });
    expect(status).toBe(202);
    const command = await gateway.hears("command", ({ commandId }) => commandId === body.commandId);
    expect(command.action?.$case).toBe(heard);
  }
  gateway.close();
  await eventually("it is offline", async () => {
    const { items } = (await call("gateways")).body;
    return items.find(({ gatewayId, connected }: Json) => gatewayId === "commanded" && !connected);
  });
  expect(await call("gateways/commanded/commands", { action: "send_report" })).toMatchObject({
    status: 409,
    body: { detail: "gateway commanded is not connected" },
  });
});

test("the coordinators are listed, with who leads and who has gateways", async () => {
  await connect("counted", "told");
  const { items } = await eventually("one leads", async () => {
    const { body } = await call("replicas");
    return body.items.some(({ leads }: Json) => leads) ? body : undefined;
  });
  expect(items).toEqual([
    expect.objectContaining({ replicaId: expect.stringMatching(/^[0-9A-Z]{26}$/), leads: true, gateways: 1 }),
  ]);
});

describe("flead model", () => {
  const flead = (...args: string[]) => run(...args, "--url", coordinator.url);

  async function run(...args: string[]) {
    const command = [join(packageRoot, "cli/flead.ts"), "model", ...args];
    const child = spawn(process.execPath, command, { env: { ...process.env, NODE_NO_WARNINGS: "1" } });
    const [stdout, stderr, status] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      new Promise<number | null>((resolve) => child.on("exit", resolve)),
    ]);
    return { status, stdout, stderr };
  }

  test("lists, pins, rolls back and shows versions in columns that line up", async () => {
    const pair = [await connect("a", "listed"), await connect("b", "listed")] as const;
    await round("listed", pair, 1n, 2);
    expect(await flead("pin", "listed", "--reason", "audit")).toEqual({
      status: 0,
      stdout: "cohort listed: the champion is version 2, pinned by admin (loopback): audit\n",
      stderr: "",
    });
    expect(await flead("roll-back", "listed", "1", "--reason", "worse")).toEqual({
      status: 1,
      stdout: "",
      stderr: "flead: version 2 is pinned by admin (loopback): audit: unpin it first\n",
    });
    await flead("unpin", "listed", "--reason", "done");
    expect((await flead("roll-back", "listed", "1", "--reason", "worse", "--champion", "2")).stdout).toBe(
      "cohort listed: the champion is version 3\n",
    );
    const lines = (await flead("list", "listed")).stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^version {2}status +parent {2}origin {2}weights {2}made +by +reason$/);
    expect(lines[1]).toMatch(/^3 +champion +2 +1 +at_hand {2}\S+Z +admin \(loopback\) +worse$/);
    expect(lines[2]).toMatch(/^2 +rolled_back +1 +- +at_hand {2}\S+Z +fedavg +not evaluated: no held-out stream$/);
    expect(new Set(lines.map((line) => line.search(/at_hand|weights/))).size).toBe(1);
    const { stdout } = await flead("show", "listed", "2");
    expect(stdout).toMatch(/^a +1 +50 +0\.5000 {2}counted$/m);
    expect(stdout).toContain("held-out: not evaluated");
    const json = JSON.parse((await flead("show", "listed", "2", "--json")).stdout);
    expect(json.contributions).toHaveLength(2);
  });

  test("a missing reason, a version that is none and a coordinator that is away are told as such", async () => {
    expect(await flead("pin", "listed")).toMatchObject({ status: 2, stderr: expect.stringContaining("--reason") });
    expect((await flead("show", "listed", "x")).status).toBe(2);
    const away = await run("list", "listed", "--url", "http://127.0.0.1:1");
    expect(away).toMatchObject({ status: 1, stderr: expect.stringMatching(/^flead: no coordinator answers at http/) });
    expect((await flead("show", "listed", "99")).stderr).toBe("flead: cohort listed has no version 99\n");
  });
});
