// A champion that drifts from what a live stream shows, over a real broker, and what is done about it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PumpRow } from "../../cli/demo/plant.ts";
import { readCoordinatorConfig } from "../../coordinator/config.ts";
import { type Coordinator, openCoordinator } from "../../coordinator/main.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { weightCount } from "../../learning/plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { createLogger } from "../../runtime/log.ts";
import { debianProgram } from "../support/debian-program.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";
import { getJson, type Json } from "../support/json.ts";
import { LIVE_STREAM, LIVE_WINDOW_ROWS, LiveSite } from "../support/live-site.ts";
import { pumpPlan as plan } from "../support/plan-settings.ts";
import { type SharedPostgres, startSharedPostgres } from "../support/shared-postgres.ts";
import { temporaryFolder } from "../support/temp.ts";

/** What each cohort wants of a drift, and its champion when it comes; version 1 is the plan's initial weights. */
const COHORTS = {
  told: { action: "event", champion: 2 },
  hurried: { action: "round", champion: 2 },
  returned: { action: "rollback", champion: 3 },
  pinned: { action: "rollback", champion: 3 },
  first: { action: "rollback", champion: 2 },
} as const;
type Name = keyof typeof COHORTS;
const NAMES = Object.keys(COHORTS) as Name[];

const folder = temporaryFolder("drift");
const compiled = compilePlan(plan);
const { planId } = encodeBundle(compiled);
const parameters = weightCount(compiled.manifest.weights);
const mosquitto = debianProgram("mosquitto");
const log = createLogger("test", "silent");

/** Ten rows of a window that stand out, and ten that are labelled: the same ones, or others. */
const secondOf = ({ atMs }: PumpRow) => (atMs / 1_000) % LIVE_WINDOW_ROWS;
const isOdd = (row: PumpRow) => secondOf(row) >= 40 && secondOf(row) < 50;
const healthy = (row: PumpRow) => ({ values: row.values, label: 0 as const });
const seen = (row: PumpRow) => ({
  values: isOdd(row) ? row.values.map((value) => 3 * value) : row.values,
  label: isOdd(row) ? (1 as const) : (0 as const),
});
const mistaken = (row: PumpRow) =>
  ({ ...seen(row), label: secondOf(row) >= 10 && secondOf(row) < 20 ? 1 : 0 }) as const;

describe.skipIf(mosquitto === null)("drift on a live stream (needs Debian's mosquitto)", () => {
  let postgres: SharedPostgres;
  let site: LiveSite;
  let admin: pg.Pool;
  let coordinator: Coordinator;

  const open = () =>
    openCoordinator(
      readCoordinatorConfig({
        DATABASE_URL: postgres.url,
        FLEAD_PLANS: NAMES.map((name) => join(folder, `${name}.yaml`)).join(","),
        FLEAD_DATA_DIR: join(folder, "unused"),
        FLEAD_GRPC_ADDRESS: "127.0.0.1:0",
        FLEAD_HTTP_ADDRESS: "127.0.0.1:0",
        FLEAD_MQTT_URL: site.url,
      }),
      log,
    );

  const push = async (cohort: Name, gatewayId: string, updates: number) => {
    const client = new GatewayClient(`localhost:${coordinator.grpcAddress.port}`, gatewayId);
    await client.hello(cohort, planId);
    const baseVersion = (await client.hears("globalModel")).globalVersion;
    for (let n = 0; n < updates; n++) await client.push(anUpdate(cohort, planId, parameters, { baseVersion }));
    client.close();
  };

  const champion = async (cohort: Name): Promise<number> => {
    const query = "SELECT champion_version AS v FROM cohort_plans WHERE cohort = $1 AND state = 'active'";
    return Number((await admin.query(query, [cohort])).rows[0]?.v);
  };
  const becomes = (cohort: Name, version: number) =>
    eventually(`${cohort} has champion ${version}`, async () =>
      (await champion(cohort)) === version ? true : undefined,
    );

  /** Four updates of two gateways: a round. */
  const round = async (cohort: Name) => {
    const before = await champion(cohort);
    for (const gateway of ["gw-a", "gw-b"]) await push(cohort, gateway, 2);
    await becomes(cohort, before + 1);
  };

  const driftOf = async (cohort: Name): Promise<Json> =>
    (await getJson(coordinator.url, `/api/v1/drift?cohort=${cohort}`)).items[0];
  /** Of as many windows as were said, the last one measured. */
  const measured = (windows: number, evaluatedRows: number) =>
    eventually(`${windows} windows are measured in each cohort`, async () => {
      const drifts = await Promise.all(NAMES.map(driftOf));
      const isLast = (drift: Awaited<ReturnType<typeof driftOf>>) =>
        drift.windows === windows && drift.evaluatedRows === evaluatedRows;
      return drifts.every(isLast) ? drifts : undefined;
    });
  const audit = async (cohort: Name) => {
    const query = "SELECT action, detail FROM audit_log WHERE subject LIKE $1 AND action LIKE 'drift.%' ORDER BY id";
    return (await admin.query(query, [`cohort/${cohort}/%`])).rows as {
      action: string;
      detail: { outcome?: string };
    }[];
  };
  const outcome = (cohort: Name) =>
    eventually(`${cohort} has done what the drift asked for`, async () => (await audit(cohort))[1]?.detail.outcome);

  beforeAll(async () => {
    for (const name of NAMES) {
      const federation = {
        round: { updates: 4, deadlineMs: 3_600_000, intervalMs: 0 },
        live: [LIVE_STREAM],
        drift: { drop: 0.3, windows: 2, rows: 2 * LIVE_WINDOW_ROWS, action: COHORTS[name].action },
      };
      writeFileSync(join(folder, `${name}.yaml`), JSON.stringify({ cohort: name, plan, federation })); // JSON is YAML
    }
    postgres = await startSharedPostgres(folder);
    admin = new pg.Pool({ connectionString: postgres.url, max: 2 });
    admin.on("error", () => undefined);
    site = await LiveSite.open(mosquitto as string, folder, Number.POSITIVE_INFINITY);
    coordinator = await open();
  });
  afterAll(async () => {
    await coordinator?.close();
    await site?.close();
    await admin?.end();
    await postgres?.stop();
  });

  test("before anything came a stream says that it is not evaluated", async () => {
    expect(await driftOf("told")).toMatchObject({
      stream: "live/ref-1",
      state: "not evaluated",
      why: "no window is stored",
      windows: 0,
      quality: null,
      reference: null,
    });
  });

  test("while it sees what is labelled a champion is steady", async () => {
    for (const name of NAMES) for (let v = 1; v < COHORTS[name].champion; v++) await round(name);
    await fetch(new URL("/api/v1/cohorts/pinned/pin", coordinator.url), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ reason: "an audit" }),
    });
    for (const gateway of ["gw-a", "gw-b"]) await push("hurried", gateway, 1);
    await site.isHeard();
    await site.say(5, healthy);
    const [unseen] = await measured(5, 50);
    expect(unseen).toMatchObject({
      state: "not evaluated",
      why: "the last 50 labelled rows lack normal rows or anomalies",
    });
    await site.say(2, seen);
    for (const drift of await measured(7, 120)) {
      expect(drift).toMatchObject({
        state: "steady",
        why: null,
        labelledRows: 420,
        evaluatedRows: 120,
        driftedAt: null,
      });
      expect(drift.quality).toBeGreaterThan(0.8);
      expect(drift.reference).toBeGreaterThan(0.8);
    }
  });

  test("once it sees something else it has drifted, whoever leads then, and what is wanted is done once", async () => {
    const before = await driftOf("told");
    await coordinator.close();
    await site.isUnheard();
    coordinator = await open();
    await site.isHeard();
    await site.say(4, mistaken);
    expect(await outcome("hurried")).toBe("version 3 came meanwhile");
    expect(await outcome("returned")).toBe("rolled back to version 2, as version 4");
    expect(await outcome("pinned")).toMatch(/^refused: version 3 is pinned by .*: an audit/);
    expect(await outcome("first")).toBe("no trained version is before version 2");
    expect(await Promise.all(NAMES.map(champion))).toEqual([2, 3, 4, 3, 2]);

    const [told] = await measured(11, 120);
    expect(told).toMatchObject({ state: "drifted", championVersion: 2, reference: before.reference, dueAction: null });
    expect(told.quality).toBeLessThan(before.reference - 0.3);
    const [detected, ...others] = await audit("told");
    expect(others).toEqual([]);
    expect(detected).toMatchObject({ action: "drift.detected", detail: { championVersion: 2, action: "event" } });
    const model = await (await fetch(new URL("/api/v1/models/returned/4", coordinator.url))).json();
    expect(model).toMatchObject({
      actor: "coordinator (drift)",
      reason: expect.stringMatching(/^drift on live\/ref-1: /),
    });
  });
});
