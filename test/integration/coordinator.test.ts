import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { decodeDelta, encodeDelta } from "../../learning/codecs/codec.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { type DeltaCodec, type PlanSettings, weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { DELTA_ENCODING } from "../../proto/delta-encoding.ts";
import { DeltaEncoding, GatewayHealth, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { decodeWeights, encodeWeights } from "../../proto/weights.ts";
import { createLogger } from "../../runtime/log.ts";
import { cohortFileIn } from "../support/cohort-file.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, fetchPlan, GatewayClient } from "../support/gateway-client.ts";
import { csvOf, plantStream, writeCsv } from "../support/held-out.ts";
import { getJson } from "../support/json.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("coordinator");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const cohortFile = cohortFileIn(folder);
const withCodec = (codec: DeltaCodec): PlanSettings => ({ ...plan, training: { ...plan.training, codec } });
const CODED: readonly DeltaCodec[] = [{ kind: "int8" }, { kind: "top_k_int8", share: 0.25 }];

let coordinator: Coordinator;
let address: string;
const clients: GatewayClient[] = [];

const config = readCoordinatorConfig({
  FLEAD_PLANS: [
    cohortFile("open", { updates: 1000, deadlineMs: 3_600_000 }),
    cohortFile("judged", { intervalMs: 0, updates: 4, deadlineMs: 3_600_000 }),
    cohortFile("uploaded", { updates: 2 }),
    cohortFile("brief", { updates: 2, maxStaleness: 0 }),
    cohortFile("due", { intervalMs: 0, updates: 1000, deadlineMs: 300 }),
    ...CODED.map((codec) => cohortFile(codec.kind, { updates: 2 }, {}, withCodec(codec))),
  ].join(","),
  FLEAD_HELD_OUT: join(folder, "held-out"),
  FLEAD_HELD_OUT_STREAM_BYTES: "5000000",
  FLEAD_DATA_DIR: join(folder, "data"),
  FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
  FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  FLEAD_LOG_LEVEL: "silent",
});
const log = createLogger("test", "silent");

async function connect(gatewayId: string, cohort: string): Promise<GatewayClient> {
  const client = new GatewayClient(address, gatewayId);
  clients.push(client);
  await client.hello(cohort);
  return client;
}

const get = (path: string) => getJson(coordinator.url, path);

beforeAll(async () => {
  for (const pump of [0, 1]) writeCsv(join(folder, "held-out/judged"), plantStream(pump, 700, 300));
  const broken = join(folder, "held-out/judged/broken.csv");
  const good = readFileSync(join(folder, "held-out/judged/pump-0.csv"), "utf8").split("\n");
  writeFileSync(broken, good.with(400, "what,is,this").join("\n"));
  mkdirSync(join(folder, "held-out/open"), { recursive: true });
  coordinator = await openCoordinator(config, log);
  address = `localhost:${coordinator.grpcAddress.port}`;
});

afterAll(async () => {
  for (const client of clients) client.close();
  await coordinator.close();
});

test("a new gateway is told the plan and the initial model, and the plan arrives whole", async () => {
  const gateway = await connect("newcomer", "open");
  expect(await gateway.hears("planChanged")).toEqual({ cohort: "open", planId });
  const model = await gateway.hears("globalModel");
  expect(model).toMatchObject({ cohort: "open", planId, globalVersion: 1n, trained: false });
  const bundle = decodeBundle(await fetchPlan(address, planId), planId);
  expect(decodeWeights(model.weights, parameters)).toEqual(bundle.initialWeights);
});

test("a plan that does not exist, or an id that is none, is an error that says so", async () => {
  await expect(fetchPlan(address, "0".repeat(64))).rejects.toThrow(/NOT_FOUND.*there is no plan/);
  await expect(fetchPlan(address, "../../etc/passwd")).rejects.toThrow(/INVALID_ARGUMENT.*64 lower-case hex digits/);
});

test.each([
  ["of the wrong length", { delta: Buffer.alloc(parameters * 4 - 4) }, /^undecodable_delta: .* are expected/],
  [
    "with NaN",
    { delta: Buffer.from(encodeWeights(new Float32Array(parameters).fill(Number.NaN))) },
    /^undecodable_delta: .*finite/,
  ],
  [
    "with infinity",
    { delta: Buffer.from(encodeWeights(new Float32Array(parameters).fill(-Infinity))) },
    /^undecodable_delta: .*finite/,
  ],
  ["of random bytes", { delta: randomBytes(parameters * 4) }, /undecodable_delta|norm_too_large/],
  ["in another encoding than the plan's", { encoding: DeltaEncoding.INT8 }, /^wrong_encoding: .*float32/],
  ["in no encoding", { encoding: DeltaEncoding.UNSPECIFIED }, "wrong_encoding"],
  ["in an encoding that is yet to come", { encoding: 99 as DeltaEncoding }, "wrong_encoding"],
  ["on an unknown base", { baseVersion: 99n }, "unknown_base"],
  ["on a base beyond any number", { baseVersion: 2n ** 64n - 1n }, "unknown_base"],
  ["of another plan", { planId: "f".repeat(64) }, "unknown_plan"],
  ["with no samples", { samples: 0n }, "bad_samples"],
  ["with more steps than can be counted", { localSteps: 2n ** 64n - 1n }, "bad_steps"],
  ["with a loss of NaN", { loss: Number.NaN }, "bad_loss"],
  ["for a cohort that is not there", { cohort: "nobody" }, "unknown_cohort"],
  ["with an id that is no ULID", { updateId: "'; DROP TABLE local_models" }, "unknown_plan"],
])("an update %s is refused with its reason and changes neither model nor open round", async (_, change, reason) => {
  const gateway = await connect("clumsy", "open");
  const before = await get("/api/v1/health");
  const result = await gateway.push(anUpdate("open", planId, parameters, change));
  expect(result.reason).toMatch(reason);
  expect(await get("/api/v1/health")).toMatchObject({
    cohorts: before.cohorts.map((c: object) => ({ ...c, updates: expect.anything() })),
  });
  gateway.close();
});

test("an update sent twice counts once, and both are answered", async () => {
  const gateway = await connect("stutterer", "open");
  const update = anUpdate("open", planId, parameters);
  const openUpdates = async () =>
    (await get("/api/v1/health")).cohorts.find((c: { cohort: string }) => c.cohort === "open").openRound.updates;
  const before = await openUpdates();
  gateway.say({ $case: "update", value: update });
  gateway.say({ $case: "update", value: update });
  const answers = await eventually("two answers", () => {
    const results = gateway.heard.filter(({ $case }) => $case === "updateResult");
    return results.length === 2 ? results.map(({ value }) => (value as { status: number }).status) : undefined;
  });
  expect(answers).toEqual([UpdateStatus.ACCEPTED, UpdateStatus.KNOWN]);
  expect(await openUpdates()).toBe(before + 1);
});

test("an update for a cohort that the gateway did not say hello for is refused", async () => {
  const gateway = await connect("stranger", "open");
  const result = await gateway.push(anUpdate("judged", planId, parameters));
  expect(result.reason).toMatch(/^unknown_cohort/);
});

test("a session that does not begin with hello, or names no valid gateway, is ended with the reason", async () => {
  const silent = new GatewayClient(address, "gw");
  silent.say({ $case: "heartbeat", value: { sentAtMs: 0n } });
  await eventually("the session ends", () => silent.ended ?? undefined);
  expect(silent.ended).toMatchObject({ details: "a session begins with hello" });
  const forger = new GatewayClient(address, "../../root");
  forger.hello("open").catch(() => undefined);
  await eventually("the session ends", () => forger.ended ?? undefined);
  expect(forger.ended).toMatchObject({ details: expect.stringContaining("gateway id") });
  silent.close();
  forger.close();
});

test("a hello that the database can't take is refused as such, not as an outage", async () => {
  const client = new GatewayClient(address, "gw");
  client.say({ $case: "hello", value: { gatewayId: "gw", agentVersion: "test", site: "north\0", cohorts: [] } });
  await eventually("the session ends", () => client.ended ?? undefined);
  expect(client.ended).toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringMatching(/^the database can't take what the hello says: invalid byte sequence/),
  });
  client.close();
});

test("a gateway that connects again ends its own older session", async () => {
  const older = await connect("twin", "open");
  const newer = await connect("twin", "open");
  await eventually("the older session ends", () => older.ended ?? undefined);
  expect(newer.ended).toBeNull();
});

test("four updates of two gateways become a candidate that is evaluated, judged, announced and fed back", async () => {
  const [a, b] = [await connect("a", "judged"), await connect("b", "judged")];
  for (const gateway of [a, a, b, b]) await gateway.push(anUpdate("judged", planId, parameters));
  const model = await a.hears("globalModel", ({ globalVersion }) => globalVersion === 2n);
  expect(model.trained).toBe(true);
  // Two steps of each gateway add up, and FedAvg of equal walks is that walk.
  const moved = decodeWeights(model.weights, parameters).map(
    (weight, i) => weight - (compiled.initialWeights[i] as number),
  );
  for (const change of moved) expect(change).toBeCloseTo(0.002, 6);

  const feedback = await b.hears("feedback");
  expect(feedback).toMatchObject({ cohort: "judged", globalVersion: 2n, promoted: true, learningRateFactor: 1 });
  expect(feedback.agreement).toBeCloseTo(1, 5);
  const [round] = (await get("/api/v1/rounds?cohort=judged")).items;
  // Two streams of 700 rows, each less its head of 250: the broken one is left out, not patched up.
  expect(round).toMatchObject({ globalVersion: 2, verdict: "promoted", updates: 4, gateways: 2, heldOut: { n: 900 } });
  expect(round.heldOut.f1Interval[0]).toBeLessThanOrEqual(round.heldOut.f1);
  expect(round.heldOut.events.events).toBeGreaterThan(0);
  expect(round.heldOut.vusPr).toBeGreaterThan(0);
  expect(round.baselines.alwaysAlarm.events).toMatchObject({ events: round.heldOut.events.events, trueEpisodes: 0 });
  expect(round.baselines.alwaysNormal).toMatchObject({ n: 900, recall: 0, precision: null });
  expect(round.baselines.alwaysAlarm).toMatchObject({ n: 900, recall: 1 });
  const { streams } = await get(`/api/v1/rounds/${round.roundId}`);
  expect(streams.map(({ stream }: { stream: string }) => stream)).toEqual(["pump-0", "pump-1"]);
  for (const { sha256, scores, champion, baselines } of streams) {
    const { sha256: frozen } = (await get("/api/v1/held-out-streams?cohort=judged")).items.find(
      (held: { sha256: string }) => held.sha256 === sha256,
    );
    expect(frozen).toBe(sha256);
    expect([scores.n, champion.n, baselines.zScore.n]).toEqual([450, 450, 450]);
  }
  expect(streams[0].scores.tp + streams[1].scores.tp).toBe(round.heldOut.tp);
});

test("a stream that is uploaded and frozen is what the next round is measured on, whoever leads", async () => {
  const gateways = await Promise.all(["up-1", "up-2"].map((id) => connect(id, "uploaded")));
  const held = (path: string, init: RequestInit = {}) =>
    fetch(new URL(`/api/v1/held-out-streams${path}`, coordinator.url), init);
  const upload = (body: string, name = "reference") =>
    held(`?cohort=uploaded&name=${name}`, { method: "POST", headers: { "content-type": "text/csv" }, body });
  const csv = csvOf(plantStream(3, 700, 300));
  const bad = await upload(csv.replace(/,0\n/, ",7\n"));
  expect([bad.status, ((await bad.json()) as { detail: string }).detail]).toEqual([
    422,
    "line 2: label 7; allowed are 0 and 1",
  ]);
  expect((await upload("x".repeat(5_000_001))).status).toBe(413);
  const draft = await upload(csv);
  expect([draft.status, await draft.json()]).toMatchObject([201, { state: "draft", rows: 700 }]);
  expect((await held("/uploaded/reference/freeze", { method: "POST" })).status).toBe(200);
  const other = await upload(csvOf(plantStream(4, 700, 300)));
  expect([other.status, ((await other.json()) as { detail: string }).detail]).toEqual([
    409,
    expect.stringContaining("retire it first"),
  ]);
  await Promise.all(gateways.map((gateway) => gateway.push(anUpdate("uploaded", planId, parameters))));
  const { roundId } = await eventually("a round", async () => (await get("/api/v1/rounds?cohort=uploaded")).items[0]);
  const { heldOut, streams } = await get(`/api/v1/rounds/${roundId}`);
  expect(heldOut.n).toBe(450);
  expect(streams).toMatchObject([{ stream: "reference", scores: { n: 450 } }]);
  expect((await held("/uploaded/nothing")).status).toBe(404);
  expect(await (await held("/uploaded/reference", { method: "DELETE" })).json()).toMatchObject({ state: "retired" });
});

test.each(CODED.map((codec) => [codec.kind, codec] as const))(
  "updates in %s become the candidate that their decoded deltas say, and broken ones nothing",
  async (cohort, codec) => {
    const coded = compilePlan(withCodec(codec));
    const { planId: itsPlan } = encodeBundle(coded);
    const layout = coded.manifest.weights;
    const random = seededRandom(3);
    const deltas = ["a", "b"].map(() => {
      const delta = new Float32Array(parameters).map(() => 0.01 * random.normal());
      return Buffer.from(encodeDelta(codec, delta, layout, new Float32Array(parameters)).bytes);
    }) as [Buffer, Buffer];
    const send = (gateway: GatewayClient, delta: Buffer, encoding = DELTA_ENCODING[codec.kind]) =>
      gateway.push(anUpdate(cohort, itsPlan, parameters, { delta, encoding }));
    const [a, b] = [await connect("a", cohort), await connect("b", cohort)];

    expect((await send(a, deltas[0])).status).toBe(UpdateStatus.ACCEPTED);
    expect((await send(b, deltas[1], DeltaEncoding.FLOAT32)).reason).toMatch(/^wrong_encoding/);
    expect((await send(b, deltas[1].subarray(0, -1))).reason).toMatch(/^undecodable_delta/);
    expect((await send(b, Buffer.alloc(0))).reason).toMatch(/^undecodable_delta/);
    expect((await send(b, deltas[1])).status).toBe(UpdateStatus.ACCEPTED);

    const model = await a.hears("globalModel", ({ globalVersion }) => globalVersion === 2n);
    const [first, second] = deltas.map((bytes) => decodeDelta(codec, bytes, layout)) as [Float32Array, Float32Array];
    const weights = decodeWeights(model.weights, parameters);
    for (const [i, weight] of weights.entries()) {
      const moved = ((first[i] as number) + (second[i] as number)) / 2;
      expect(weight - (coded.initialWeights[i] as number)).toBeCloseTo(moved, 6);
    }
    const [round] = (await get(`/api/v1/rounds?cohort=${cohort}`)).items;
    expect(round).toMatchObject({ globalVersion: 2, updates: 2, gateways: 2 });
  },
);

test("feedback that was not acknowledged comes again with the next hello, acknowledged feedback does not", async () => {
  const again = await connect("b", "judged");
  await again.hears("feedback", ({ globalVersion }) => globalVersion === 2n);
  again.say({
    $case: "feedbackAcknowledgement",
    value: { cohort: "judged", globalVersion: 2n, learningRateFactor: 1 },
  });
  again.say({ $case: "heartbeat", value: { sentAtMs: 1n } });
  await again.hears("heartbeat"); // handled in order: the acknowledgement is heard, and is told before the next hello
  const third = await connect("b", "judged");
  third.say({ $case: "heartbeat", value: { sentAtMs: 2n } });
  await third.hears("heartbeat");
  expect(third.heard.filter(({ $case }) => $case === "feedback")).toEqual([]);
});

test("a gateway that acknowledges what can't be a version is refused, and the others' acknowledgements are stored", async () => {
  const [a, liar] = [await connect("a", "judged"), await connect("liar", "judged")];
  await a.hears("feedback", ({ globalVersion }) => globalVersion === 2n);
  const acknowledge = (globalVersion: bigint) =>
    ({ $case: "feedbackAcknowledgement", value: { cohort: "judged", globalVersion, learningRateFactor: 1 } }) as const;
  a.say(acknowledge(2n));
  a.say({ $case: "heartbeat", value: { sentAtMs: 1n } });
  await a.hears("heartbeat");
  liar.say(acknowledge(2n ** 64n - 1n));
  await eventually("the liar is refused", () => liar.ended ?? undefined);
  expect(liar.ended).toMatchObject({ details: "there is no version 18446744073709551615" });
  const again = await connect("a", "judged");
  again.say({ $case: "heartbeat", value: { sentAtMs: 2n } });
  await again.hears("heartbeat");
  expect(again.heard.filter(({ $case }) => $case === "feedback")).toEqual([]);
});

test("a candidate that is much worse is rejected: the champion stays, the number is used up", async () => {
  const [a, b] = [await connect("a", "judged"), await connect("b", "judged")];
  // Learn first, so that there is something to lose: the champion's quality is what the untrained weights have.
  const wreck = new Float32Array(parameters).map((_, i) => (i % 2 === 0 ? 4 : -4));
  const delta = Buffer.from(encodeWeights(wreck));
  for (const gateway of [a, b, a, b]) await gateway.push(anUpdate("judged", planId, parameters, { delta }));
  const feedback = await a.hears("feedback", ({ globalVersion }) => globalVersion === 3n);
  const [round] = (await get("/api/v1/rounds?cohort=judged")).items;
  expect(round.globalVersion).toBe(3);
  expect(round.verdict).toBe(feedback.promoted ? "promoted" : "rejected");
  const { championVersion } = (await get("/api/v1/health")).cohorts.find(
    (c: { cohort: string }) => c.cohort === "judged",
  );
  expect(championVersion).toBe(feedback.promoted ? 3 : 2);
  expect(feedback.promoted).toBe(false);
  expect(a.heard.some((m) => m.$case === "globalModel" && m.value.globalVersion === 3n)).toBe(false);
});

test("an update that was stored is known when it comes again, however stale its base has become", async () => {
  const [a, b] = [await connect("a", "brief"), await connect("b", "brief")];
  const first = anUpdate("brief", planId, parameters);
  expect((await a.push(first)).status).toBe(UpdateStatus.ACCEPTED);
  await b.push(anUpdate("brief", planId, parameters));
  await a.hears("globalModel", ({ globalVersion }) => globalVersion === 2n);
  const late = await b.push(anUpdate("brief", planId, parameters));
  expect(late).toMatchObject({ status: UpdateStatus.REFUSED, reason: expect.stringContaining("stale_base") });
  const again = new GatewayClient(address, "a");
  clients.push(again);
  await again.hello("brief");
  expect((await again.push(first)).status).toBe(UpdateStatus.KNOWN);
});

test("a round that is not full closes at its deadline, and not before a second gateway is there", async () => {
  const a = await connect("a", "due");
  await a.push(anUpdate("due", planId, parameters));
  await a.push(anUpdate("due", planId, parameters));
  const b = await connect("b", "due");
  expect((await get("/api/v1/rounds?cohort=due")).items).toEqual([]);
  await b.push(anUpdate("due", planId, parameters));
  const rounds = await eventually("the round closes", async () => {
    const { items } = await get("/api/v1/rounds?cohort=due");
    return items.length > 0 ? items : undefined;
  });
  expect(rounds).toMatchObject([{ updates: 3, gateways: 2, heldOut: null, baselines: null, verdict: "promoted" }]);
  expect(rounds[0].reason).toContain("not evaluated");
});
test("an episode is kept once however often it is reported, and a malformed one is left out alone", async () => {
  const gateway = await connect("reporter", "open");
  const episode = {
    alertId: "01JD0000000000000000000000",
    deviceId: "pump-1",
    cohort: "open",
    modelKind: "federated",
    globalVersion: 1n,
    state: "active",
    severity: "major",
    score: 2,
    threshold: 1,
    confidence: 0.9,
    startedAtMs: 1_700_000_000_000n,
    updatedAtMs: 1_700_000_001_000n,
    count: 5n,
    contributors: [{ channel: "flow", share: 1, value: 2, expectedLow: 0, expectedHigh: 1, unit: "m³/h" }],
  };
  const bad = { ...episode, alertId: "01JD0000000000000000000001", severity: "apocalyptic" };
  for (const reportId of ["r1", "r2"]) {
    const value = {
      reportId,
      clock: "synced",
      episodes: [episode, bad],
      health: GatewayHealth.fromPartial({ rows: 7n }),
      cohorts: [],
      statistics: [],
      summaries: [],
    };
    gateway.say({ $case: "report", value });
    await gateway.hears("reportResult", (result) => result.reportId === reportId);
  }
  const { items } = await get("/api/v1/episodes");
  expect(items).toMatchObject([{ alertId: episode.alertId, gatewayId: "reporter", severity: "major" }]);
  const gateways = (await get("/api/v1/gateways")).items;
  const reporter = gateways.find(({ gatewayId }: { gatewayId: string }) => gatewayId === "reporter");
  expect(reporter?.health).toMatchObject({ rows: 7, clock: "synced" });
});
