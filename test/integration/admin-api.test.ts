import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { openDatabase } from "../../coordinator/adapters/database.ts";
import { postgresQueries } from "../../coordinator/adapters/postgres-queries.ts";
import { createLogger } from "../../runtime/log.ts";
import { adminOver } from "../support/admin.ts";
import { adminSite } from "../support/admin-site.ts";
import { addEpisode, addOpenUpdate, BASELINES, minutes, PLAN_ID, scores } from "../support/fleet-rows.ts";
import type { Json } from "../support/json.ts";

const log = createLogger("test", "silent");

const site = adminSite();

async function walk(path: string, limit = 2): Promise<Json[]> {
  const rows: Json[] = [];
  const separator = path.includes("?") ? "&" : "?";
  for (let cursor: string | null = ""; cursor !== null; ) {
    const { status, body }: { status: number; body: Json } = await site.get(
      `${path}${separator}limit=${limit}${cursor && `&cursor=${cursor}`}`,
    );
    expect(status).toBe(200);
    expect(body.items.length).toBeLessThanOrEqual(limit);
    rows.push(...body.items);
    cursor = body.nextCursor;
  }
  return rows;
}
describe("what the endpoints say", () => {
  test("health shows each cohort's champion, factor and open round", async () => {
    const { status, body } = await site.get("/api/v1/health");
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: "ok", version: "1.2.3", database: "up" });
    expect(body.cohorts).toEqual([
      {
        cohort: "fans",
        planId: PLAN_ID,
        championVersion: 1,
        leaving: null,
        learningRateFactor: 1,
        pin: null,
        openRound: { updates: 0, updatesWanted: 20, gateways: 0, gatewaysWanted: 2, openedAt: null },
        updates: { acknowledged: 20, aggregated: 20, refused: 0 },
      },
      {
        cohort: "pumps",
        planId: PLAN_ID,
        championVersion: 7,
        leaving: null,
        learningRateFactor: 1,
        pin: null,
        openRound: {
          updates: 12,
          updatesWanted: 20,
          gateways: 2,
          gatewaysWanted: 2,
          openedAt: minutes(10).toISOString(),
        },
        updates: { acknowledged: 12 + 7 * 20, aggregated: 7 * 20, refused: 0 },
      },
    ]);
  });

  test("an update that a round used, or that was refused, no longer counts as open", async () => {
    const { kysely } = site.database;
    await addOpenUpdate(kysely, "fans", "gw-3", 100);
    await addOpenUpdate(kysely, "fans", "gw-3", 101);
    await addOpenUpdate(kysely, "fans", "gw-3", 102);
    await sql`UPDATE local_models SET status = 'refused' WHERE model_version = 100`.execute(kysely);
    await sql`UPDATE local_models SET status = 'aggregated', round_id = (SELECT max(round_id) FROM rounds) WHERE model_version = 101`.execute(
      kysely,
    );
    const fans = (await site.get("/api/v1/health")).body.cohorts[0];
    await sql`DELETE FROM local_models WHERE cohort = 'fans'`.execute(kysely);
    expect(fans.openRound).toMatchObject({ updates: 1, gateways: 1 });
  });

  test("a round carries the candidate's, the champion's and the baselines' scores, and null where nothing was measured", async () => {
    const { body } = await site.get("/api/v1/rounds?cohort=pumps");
    const of = (version: number) => body.items.find((round: Json) => round.globalVersion === version);
    expect(of(5)).toMatchObject({
      verdict: "rejected",
      reason: "quality fell by 0.12, more than 0.05",
      baseVersion: 4,
      samples: 1000,
    });
    expect(of(5).heldOut).toEqual(JSON.parse(JSON.stringify(scores(140, 35, 0.625))));
    expect(of(5).championHeldOut.tp).toBe(100);
    expect(of(5).baselines).toEqual(JSON.parse(JSON.stringify(BASELINES)));
    expect(of(5).baselines.alwaysNormal.precision).toBeNull();
    expect(of(3)).toMatchObject({ heldOut: null, championHeldOut: null, baselines: null });
  });

  test("a round from before events were measured is served, with null for them", async () => {
    const { kysely } = site.database;
    const without = (column: string) => sql`${sql.ref(column)} = ${sql.ref(column)} - 'events' - 'vusPr'`;
    const { events: _, vusPr: __, ...zScore } = BASELINES.zScore;
    await sql`UPDATE rounds SET ${without("held_out")}, ${without("champion_held_out")},
      baselines = jsonb_set(baselines, '{zScore}', ${JSON.stringify(zScore)}::jsonb)
      WHERE cohort = 'pumps' AND global_version = 4`.execute(kysely);
    const { status, body } = await site.get("/api/v1/rounds?cohort=pumps");
    expect(status).toBe(200);
    const round = body.items.find(({ globalVersion }: Json) => globalVersion === 4);
    expect(round.heldOut).toMatchObject({ tp: 132, events: null, vusPr: null });
    expect(round.championHeldOut).toMatchObject({ tp: 100, events: null, vusPr: null });
    expect(round.baselines.zScore).toMatchObject({ tp: 96, events: null, vusPr: null });
    expect(round.baselines.alwaysAlarm.events).toMatchObject({ events: 6, delayMedianS: 12 });
  });

  test("a gateway that has not reported has null for its health, not zeros", async () => {
    const { body } = await site.get("/api/v1/gateways");
    const of = (id: string) => body.items.find((gateway: Json) => gateway.gatewayId === id);
    expect(of("gw-1").health).toMatchObject({ rows: 5000, outboxBytes: 2048, rssBytes: null });
    expect(of("gw-1").cohorts).toEqual([
      {
        cohort: "pumps",
        planId: PLAN_ID,
        globalVersion: 7,
        devices: ["pump-1", "pump-2"],
        candidate: null,
        previousVersion: null,
        standing: 1,
        standingReason: null,
        standingChangedAt: null,
      },
    ]);
    expect(of("gw-2").health).toBeNull();
  });

  test("models show versions with their round and where their weights are, without these", async () => {
    const { body } = await site.get("/api/v1/models?cohort=pumps&limit=1");
    expect(body.items[0]).toMatchObject({
      globalVersion: 8,
      parentVersion: 7,
      status: "champion",
      devices: 12,
      rule: "fedavg",
    });
    expect(body.items[0]).toMatchObject({ weights: "at_hand", reason: "no worse", actor: null, originVersion: null });
  });

  test("episodes show severity, score and contributors", async () => {
    const { body } = await site.get("/api/v1/episodes?limit=1");
    expect(body.items[0]).toMatchObject({ alertId: "A6", severity: "critical", state: "active", confidence: 0.98 });
    expect(body.items[0].contributors[0]).toEqual({
      channel: "vibration_x",
      share: 0.61,
      value: 9.2,
      expected: [2.1, 4],
      unit: "mm/s",
    });
  });
});

describe("paging", () => {
  test.each([
    ["/api/v1/rounds", (row: Json) => `${row.cohort} ${row.globalVersion}`, 8],
    ["/api/v1/models", (row: Json) => `${row.cohort} ${row.globalVersion}`, 8],
    ["/api/v1/gateways", (row: Json) => row.gatewayId, 3],
    ["/api/v1/episodes", (row: Json) => row.alertId, 7],
  ] as const)("%s walks every row once, the newest first", async (path, key, count) => {
    for (const limit of [1, 2, 200]) expect(new Set((await walk(path, limit)).map(key)).size).toBe(count);
    const rows = await walk(path);
    expect(rows).toHaveLength(count);
    const times = rows.map((row) => row.receivedAt ?? row.createdAt ?? row.roundId);
    expect(times).toEqual([...times].sort().reverse());
  });

  test("a walk that is overtaken by a new row still gives every older row once", async () => {
    const first = (await site.get("/api/v1/episodes?limit=3")).body;
    await addEpisode(site.database.kysely, { alertId: "LATE", cohort: "pumps", receivedAt: minutes(99) });
    const rest = (await site.get(`/api/v1/episodes?limit=200&cursor=${first.nextCursor}`)).body;
    await sql`DELETE FROM episodes WHERE alert_id = 'LATE'`.execute(site.database.kysely);
    expect([...first.items, ...rest.items].map((row: Json) => row.alertId).sort()).toEqual([
      "A0",
      "A1",
      "A2",
      "A3",
      "A4",
      "A5",
      "A6",
    ]);
  });

  test.each([
    ["/api/v1/rounds?cohort=fans", 1],
    ["/api/v1/models?cohort=pumps", 7],
    ["/api/v1/gateways?cohort=pumps", 2],
    ["/api/v1/episodes?cohort=pumps", 6],
    ["/api/v1/episodes?cohort=nobody", 0],
  ])("%s keeps to the cohort", async (path, count) => {
    expect(await walk(path)).toHaveLength(count);
  });
});

describe("problem details", () => {
  test.each([
    ["/api/v1/rounds?limit=0", "limit"],
    ["/api/v1/rounds?limit=201", "limit"],
    ["/api/v1/rounds?limit=ten", "limit"],
    ["/api/v1/rounds?cursor=bm9wZQ", "cursor"],
    ["/api/v1/rounds?cursor=%00%FF", "cursor"],
    ["/api/v1/episodes?cohort=a%20b", "cohort"],
    [`/api/v1/gateways?cursor=${Buffer.from('{"atUs":-1,"id":"x"}').toString("base64url")}`, "cursor"],
  ])("%s is a 400 that names the parameter", async (path, parameter) => {
    const { status, type, body } = await site.get(path);
    expect(status).toBe(400);
    expect(type).toMatch(/^application\/problem\+json/);
    expect(body).toMatchObject({
      type: "about:blank",
      title: "Bad Request",
      status: 400,
      instance: path.split("?")[0],
    });
    expect(body.errors).toEqual([{ parameter, detail: expect.any(String) }]);
  });

  test("a cursor of another list is refused and says what to do", async () => {
    const { nextCursor } = (await site.get("/api/v1/episodes?limit=1")).body;
    const { status, body } = await site.get(`/api/v1/rounds?cursor=${nextCursor}`);
    expect(status).toBe(400);
    expect(body.detail).toBe("cursor: is not a cursor of this list: take a page's nextCursor");
  });

  test("an unknown parameter is refused rather than ignored", async () => {
    const { status, body } = await site.get("/api/v1/rounds?limt=5");
    expect(status).toBe(400);
    expect(body.detail).toBe('the query: Unrecognized key: "limt"');
  });

  test.each(["/api/v1/nothing", "/nothing", "/../package.json", "/%2e%2e/server.ts", "/.."])(
    "%s is a 404",
    async (path) => {
      const { status, type, body } = await site.raw(path, "127.0.0.1");
      expect(status).toBe(404);
      expect(type).toMatch(/^application\/problem\+json/);
      expect(JSON.parse(body)).toMatchObject({ status: 404, title: "Not Found" });
    },
  );

  test("a path that is not valid percent-encoding is a 400", async () => {
    const { status, type } = await site.raw("/api/v1/%zz", "127.0.0.1");
    expect(status).toBe(400);
    expect(type).toMatch(/^application\/problem\+json/);
  });

  test("without its database the lists answer 503 and health says what is down", async () => {
    const folder = await mkdtemp(join(tmpdir(), "flead-admin-"));
    const other = await openDatabase({ dataDir: folder, log });
    const lonely = await adminOver(other);
    try {
      await other.close();
      const health = await fetch(`${lonely.url}/api/v1/health`);
      expect(health.status).toBe(503);
      expect(await health.json()).toEqual({ status: "degraded", version: "1.2.3", database: "down", cohorts: [] });
      const rounds = await fetch(`${lonely.url}/api/v1/rounds`);
      expect(rounds.status).toBe(503);
      expect(await rounds.json()).toMatchObject({
        title: "Service Unavailable",
        detail: "the database does not answer",
      });
    } finally {
      await lonely.close();
      await rm(folder, { recursive: true });
    }
  });

  test("what goes wrong inside is a 500 that gives nothing of it away", async () => {
    const queries = {
      ...postgresQueries(site.database.kysely),
      rounds: () => Promise.reject(new Error("secret detail")),
    };
    const faulty = await adminOver(site.database, { queries });
    const response = await fetch(`${faulty.url}/api/v1/rounds`);
    await faulty.close();
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
  });
});
