// Live labelled streams over a real broker: their windows, and rounds that are measured on them.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import { weightCount } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { plantStream, writeCsv } from "../support/held-out.ts";
import { getJson } from "../support/json.ts";
import { LIVE_STREAM, LIVE_WINDOW_ROWS, LiveSite } from "../support/live-site.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { type SharedPostgres, startSharedPostgres } from "../support/shared-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

const COHORT = "pumps";
const folder = temporaryFolder("live");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const HEAD = rowsToCalibrate(compiled.manifest);
const mosquitto = debianProgram("mosquitto");
const log = createLogger("test", "silent");

let postgres: SharedPostgres;
let site: LiveSite;
let admin: pg.Pool;
let clients: GatewayClient[] = [];
const running = new Set<Coordinator>();

async function open(env: Readonly<Record<string, string>> = {}): Promise<Coordinator> {
  const coordinator = await openCoordinator(
    readCoordinatorConfig({
      DATABASE_URL: postgres.url,
      FLEAD_PLANS: join(folder, "plan.yaml"),
      FLEAD_HELD_OUT: join(folder, "held-out"),
      FLEAD_DATA_DIR: join(folder, "unused"),
      FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
      FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
      FLEAD_MQTT_URL: site.url,
      ...env,
    }),
    log,
  );
  running.add(coordinator);
  return coordinator;
}

async function close(coordinator: Coordinator): Promise<void> {
  running.delete(coordinator);
  await coordinator.close();
}

const count = async (query: string): Promise<number> => Number((await admin.query(query)).rows[0]?.n);
const windows = () => count("SELECT count(*) AS n FROM live_windows");

const stored = (wanted: number) =>
  eventually(`${wanted} windows are stored`, async () => ((await windows()) === wanted ? true : undefined));

const get = ({ url }: Coordinator, path: string) => getJson(url, path);

/** A round of two gateways' updates; resolves with what is told of it. */
async function round(coordinator: Coordinator) {
  const lastVersion = BigInt(await count("SELECT last_version AS n FROM cohorts"));
  const gateways = await Promise.all(
    ["gw-a", "gw-b"].map(async (gatewayId) => {
      const client = new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gatewayId);
      clients.push(client);
      await client.hello(COHORT, planId);
      return client;
    }),
  );
  const baseVersion = (await gateways[0]?.hears("globalModel"))?.globalVersion ?? 0n;
  for (const gateway of gateways) await gateway.push(anUpdate(COHORT, planId, parameters, { baseVersion }));
  const { globalVersion } = (await gateways[0]?.hears("feedback", (its) => its.globalVersion > lastVersion)) ?? {};
  const { items } = await get(coordinator, `/api/v1/rounds?cohort=${COHORT}`);
  const { roundId } = items.find((each: { globalVersion: number }) => BigInt(each.globalVersion) === globalVersion);
  return get(coordinator, `/api/v1/rounds/${roundId}`);
}

describe.skipIf(mosquitto === null)("live streams (needs Debian's mosquitto)", () => {
  beforeAll(async () => {
    postgres = await startSharedPostgres(folder);
    admin = new pg.Pool({ connectionString: postgres.url, max: 2 });
    admin.on("error", () => undefined);
    writeCsv(join(folder, "held-out", COHORT), plantStream(0, 400, 300));
    const federation = { round: { updates: 2, deadlineMs: 3_600_000, intervalMs: 0 }, live: [LIVE_STREAM] };
    writeFileSync(join(folder, "plan.yaml"), JSON.stringify({ cohort: COHORT, plan, federation })); // JSON is YAML
  });
  afterAll(async () => {
    await admin?.end();
    await postgres?.stop();
  });
  beforeEach(async () => {
    site = await LiveSite.open(mosquitto as string, folder);
    clients = [];
  });
  afterEach(async () => {
    for (const client of clients) client.close();
    await Promise.all([...running].map(close));
    await site.close();
    await admin.query("TRUNCATE live_windows, live_drift");
  });

  test("rows and their late labels become windows, on which candidate and champion are measured", async () => {
    const coordinator = await open();
    await site.isHeard();
    await site.say(10);
    await stored(10);
    expect(await count("SELECT sum(labelled) AS n FROM live_windows")).toBe(10 * LIVE_WINDOW_ROWS);
    const { streams, heldOut, championHeldOut } = await round(coordinator);
    expect(streams).toMatchObject([
      { stream: "live/ref-1", scores: { n: 10 * LIVE_WINDOW_ROWS - HEAD }, baselines: { zScore: { n: 350 } } },
      { stream: "pump-0", scores: { n: 150 } },
    ]);
    expect([heldOut.n, championHeldOut.n]).toEqual([500, 500]);
    expect(streams[0].scores.f1Interval).toHaveLength(2);
    expect(streams[0].champion.n).toBe(350);
    const devices = await admin.query("SELECT DISTINCT device_id FROM model_evaluations ORDER BY 1");
    expect(devices.rows.map(({ device_id }) => device_id)).toEqual(["pump-0", "ref-1"]);
  });

  test("a broker that restarts, and knows nothing of who was there, is heard again", async () => {
    await open();
    await site.isHeard();
    await site.say(1);
    await stored(1);
    await site.restartBroker();
    await site.isHeard();
    await site.say(1);
    await stored(2);
  });

  test("whoever leads next goes on after the windows that are stored", async () => {
    const first = await open();
    await site.isHeard();
    await site.say(6);
    await stored(6);
    await close(first);
    await site.isUnheard();
    const second = await open();
    await site.isHeard();
    await site.say(2);
    await stored(8);
    // The row that closed the sixth window was of one that was open.
    expect((await round(second)).streams[0]).toMatchObject({ stream: "live/ref-1", scores: { n: 8 * 60 - HEAD - 1 } });
  });

  test("without a broker live streams are not evaluated on", async () => {
    const first = await open();
    await site.isHeard();
    await site.say(6);
    await stored(6);
    await close(first);
    const second = await open({ FLEAD_MQTT_URL: "" });
    const { streams } = await round(second);
    expect(streams.map(({ stream }: { stream: string }) => stream)).toEqual(["pump-0"]);
    const [stream] = (await get(second, `/api/v1/drift?cohort=${COHORT}`)).items;
    expect(stream).toMatchObject({
      state: "not evaluated",
      why: "no broker is named (--mqtt, FLEAD_MQTT_URL)",
      windows: 6,
      quality: null,
    });
  });

  test("what is no row or label is counted and changes nothing", async () => {
    await open();
    await site.isHeard();
    for (const junk of ["{", "[]", '{"timestamp":1,"data":{}}', '{"data":{"flow":"x"}}']) await site.sayRaw(junk);
    await site.say(1);
    await stored(1);
    expect(await count("SELECT sum(rows) AS n FROM live_windows")).toBe(LIVE_WINDOW_ROWS);
  });

  test("a file for the broker that can't be read is named at the start", async () => {
    await expect(open({ FLEAD_MQTT_PASSWORD_FILE: join(folder, "none") })).rejects.toThrow(/FLEAD_MQTT_.*none/s);
  });
});
