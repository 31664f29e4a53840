import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { readAgentConfig } from "../../agent/config.ts";
import { startAgent } from "../../agent/main.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { type Invitation, UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { getJson, type Json } from "../support/json.ts";
import { MqttSite } from "../support/mqtt-site.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("synchronous-rounds");
const plan = smallSettings();
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const HOUR_MS = 3_600_000;

const cohortFile = (cohort: string, round: object) => {
  const file = join(folder, `${cohort}.yaml`);
  const federation = { round: { mode: "synchronous", ...round }, rule: { kind: "fedavg" } };
  writeFileSync(file, JSON.stringify({ cohort, plan, federation })); // JSON is YAML
  return file;
};

let coordinator: Coordinator;
const lines: string[] = [];

async function start(): Promise<void> {
  const config = readCoordinatorConfig({
    FLEAD_PLANS: [
      cohortFile("wanted", { gateways: 2, overSelection: 0.5, deadlineMs: HOUR_MS }),
      cohortFile("kept", { gateways: 2, overSelection: 0, deadlineMs: HOUR_MS }),
      cohortFile("silent", { gateways: 2, overSelection: 0, deadlineMs: 1_500 }),
      cohortFile("pumps", { gateways: 2, overSelection: 0.5, deadlineMs: 30_000 }),
    ].join(","),
    FLEAD_DATA_DIR: join(folder, "data"),
    FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
    FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
  });
  coordinator = await openCoordinator(config, pino({ level: "warn" }, { write: (line) => lines.push(line) }));
}

beforeAll(start);
afterAll(() => coordinator?.close());

async function connect(cohort: string, ...names: string[]): Promise<GatewayClient[]> {
  const clients = names.map((name) => new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, name));
  onTestFinished(() => {
    for (const client of clients) client.close();
  });
  for (const client of clients) await client.hello(cohort, planId, 1);
  return clients;
}

const answer = (gateway: GatewayClient, { cohort, roundId, baseVersion }: Invitation) =>
  gateway.push(anUpdate(cohort, planId, parameters, { roundId, baseVersion }));

const items = async (path: string): Promise<Json[]> => (await getJson(coordinator.url, path)).items;

test("those invited answer, the round closes at those wanted, and everybody else is refused with the reason", async () => {
  const [a, b, c] = (await connect("wanted", "w-1", "w-2", "w-3")) as [GatewayClient, GatewayClient, GatewayClient];
  const [uninvited] = (await connect("pumps", "w-9")) as [GatewayClient];
  expect((await a.hears("globalModel")).trainWhenInvited).toBe(true);
  // The first round may have been opened before the third had connected.
  const first = await a.hears("invitation");
  expect(first).toMatchObject({ cohort: "wanted", baseVersion: 1n });
  expect(first.deadlineMs).toBeGreaterThan(HOUR_MS / 2);
  for (const gateway of [a, b]) await answer(gateway, await gateway.hears("invitation"));
  const isSecond = ({ baseVersion }: Invitation) => baseVersion === 2n;
  const invitation = await a.hears("invitation", isSecond);
  expect(await b.hears("invitation", isSecond)).toMatchObject({ roundId: invitation.roundId });
  expect(await c.hears("invitation", isSecond)).toMatchObject({ roundId: invitation.roundId });

  const onSecond = { baseVersion: 2n, roundId: invitation.roundId };
  const byItself = await a.push(anUpdate("wanted", planId, parameters, { baseVersion: 2n }));
  expect(byItself).toMatchObject({ status: UpdateStatus.REFUSED, reason: expect.stringMatching(/^not_invited/) });
  const strangers = await uninvited.push(anUpdate("pumps", planId, parameters, { roundId: invitation.roundId }));
  expect(strangers.reason).toMatch(/^round_not_open/);
  const [late] = (await connect("wanted", "w-4")) as [GatewayClient];
  expect((await answer(late, invitation)).reason).toMatch(/^not_invited: gateway w-4/);

  const counted = anUpdate("wanted", planId, parameters, onSecond);
  expect((await a.push(counted)).status).toBe(UpdateStatus.ACCEPTED);
  expect((await answer(b, invitation)).status).toBe(UpdateStatus.ACCEPTED);
  expect(await c.hears("globalModel", ({ globalVersion }) => globalVersion === 3n)).toMatchObject({ trained: true });
  expect((await answer(c, invitation)).reason).toMatch(/^round_not_open/);
  a.heard.splice(0);
  expect((await a.push(counted)).status).toBe(UpdateStatus.KNOWN);
  expect(await items("/api/v1/rounds?cohort=wanted")).toMatchObject([
    { roundId: Number(invitation.roundId), updates: 2, gateways: 2, globalVersion: 3 },
    { roundId: Number(first.roundId), updates: 2, gateways: 2, globalVersion: 2 },
  ]);
  // Those that were not asked before come first.
  expect(await late.hears("invitation")).toMatchObject({ baseVersion: 3n });
});

test("an invitation survives a restart of the coordinator: it comes again with the hello, and its answers count", async () => {
  const [a, b] = (await connect("kept", "k-1", "k-2")) as [GatewayClient, GatewayClient];
  const invitation = await a.hears("invitation");
  await b.hears("invitation");
  expect((await answer(a, invitation)).status).toBe(UpdateStatus.ACCEPTED);
  await coordinator.close();
  await start();
  const [again] = (await connect("kept", "k-2")) as [GatewayClient];
  const reminded = await again.hears("invitation");
  expect(reminded).toMatchObject({ roundId: invitation.roundId, baseVersion: 1n });
  expect(reminded.deadlineMs).toBeLessThan(invitation.deadlineMs);
  expect((await answer(again, reminded)).status).toBe(UpdateStatus.ACCEPTED);
  await again.hears("globalModel", ({ globalVersion }) => globalVersion === 2n);
  expect(await items("/api/v1/rounds?cohort=kept")).toMatchObject([
    { roundId: Number(invitation.roundId), updates: 2 },
  ]);
});

test("a round whose gateways stay silent is given up, and others are invited until one closes", async () => {
  const [mute, a, b] = (await connect("silent", "s-1", "s-2", "s-3")) as [GatewayClient, GatewayClient, GatewayClient];
  const answered = new Set<bigint>();
  await eventually(
    "a round closes though one gateway never answers",
    async () => {
      for (const gateway of [a, b]) {
        const said = gateway.heard.flatMap((message) => (message.$case === "invitation" ? [message.value] : [])).at(-1);
        if (said === undefined || answered.has(said.roundId * 10n + BigInt(gateway === a))) continue;
        answered.add(said.roundId * 10n + BigInt(gateway === a));
        await answer(gateway, said);
      }
      return (
        a.heard.some((message) => message.$case === "globalModel" && message.value.globalVersion === 2n) || undefined
      );
    },
    30_000,
  );
  expect(mute.ended).toBeNull();
  expect(await items("/api/v1/rounds?cohort=silent")).toMatchObject([{ gateways: 2, globalVersion: 2 }]);
});

test("agents of such a cohort train when they are invited and at no other time, and round follows round", async () => {
  const site = await MqttSite.open();
  onTestFinished(() => site.close());
  await site.listen("flead/v1/north/+/model/#");
  const agents = await Promise.all(
    ["1", "2", "3"].map((n) =>
      startAgent(
        readAgentConfig({
          FLEAD_GATEWAY_ID: `gw-${n}`,
          FLEAD_AGENT_HTTP: "off",
          FLEAD_SITE: "north",
          FLEAD_MQTT_URL: site.url,
          FLEAD_COORDINATOR: `127.0.0.1:${coordinator.grpcAddress.port}`,
          FLEAD_DATA_DIR: join(folder, `gw-${n}`),
          FLEAD_COHORTS: "pumps=pump-*",
        }),
        pino({ level: "silent" }),
      ),
    ),
  );
  onTestFinished(async () => {
    await Promise.all(agents.map((agent) => agent.close()));
  });
  const random = seededRandom(3);
  let rows = 0;
  const speak = async () => {
    const flow = 30 + 2 * random.normal();
    const body = { timestamp: new Date(1e12 + 1000 * rows++).toISOString(), flow, current: flow / 10 };
    await site.say("flead/v1/north/pump-1/telemetry", body);
  };
  const rounds = await eventually(
    "three rounds",
    async () => {
      for (let row = 0; row < 20; row++) await speak();
      const closed = await items("/api/v1/rounds?cohort=pumps");
      return closed.length >= 3 ? closed : undefined;
    },
    60_000,
  );
  for (const { gateways, updates } of rounds) {
    expect(gateways).toBeGreaterThanOrEqual(2);
    expect(updates).toBe(gateways); // one each
  }
  const trained = site.events("flead/v1/north/").filter(({ topic }) => topic.endsWith("/trained"));
  const times = Array.from(Map.groupBy(trained, ({ topic }) => topic).values(), ({ length }) => length);
  // Hundreds of rows each, of which fifty would be an update's worth; but only so many invitations.
  expect(rows).toBeGreaterThan(100);
  expect(Math.max(...times)).toBeLessThanOrEqual(rounds.length + 1);
  expect(lines.filter((line) => line.includes("gateway gw-") && line.includes("not_invited"))).toEqual([]);
});
