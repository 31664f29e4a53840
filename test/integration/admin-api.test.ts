import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import { postgresQueries } from "../../coordinator/adapters/postgres-queries.ts";
import type { Admin } from "../../coordinator/admin/server.ts";
import { createLogger } from "../../runtime/log.ts";
import { adminOver } from "../support/admin.ts";
import {
  addCohort,
  addEpisode,
  addGateway,
  addOpenUpdate,
  addRound,
  BASELINES,
  minutes,
  PLAN_ID,
  scores,
} from "../support/fleet-rows.ts";

const log = createLogger("test", "silent");

let dataDir: string;
let database: Database;
let admin: Admin;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "flead-admin-"));
  database = await openDatabase({ dataDir, log });
  const { kysely } = database;
  await addCohort(kysely, "pumps", 7);
  await addCohort(kysely, "fans", 1);
  for (let version = 2; version <= 8; version++) {
    await addRound(kysely, {
      cohort: "pumps",
      version,
      verdict: version === 5 ? "rejected" : "promoted",
      reason: version === 5 ? "quality fell by 0.12, more than 0.05" : "no worse",
      heldOut: version === 3 ? null : scores(100 + version * 8, 40 - version, 0.5 + version / 40),
      championHeldOut: version === 3 ? null : scores(100, 40, 0.5),
      factor: 1.05,
    });
  }
  await addRound(kysely, {
    cohort: "fans",
    version: 2,
    verdict: "promoted",
    reason: "first",
    heldOut: null,
    championHeldOut: null,
    factor: 1,
  });
  const health = {
    rows: 5000,
    rowsRefused: 3,
    updatesTrained: 40,
    samplesTrained: 4800,
    outboxBytes: 2048,
    outboxDropped: 0,
  };
  // Two created in one statement's microsecond and one a microsecond later: a key of milliseconds would lose one.
  for (const [id, cohort] of [
    ["gw-1", "pumps"],
    ["gw-2", "pumps"],
    ["gw-3", "fans"],
  ] as const) {
    await addGateway(kysely, { gatewayId: id, cohort, health: id === "gw-1" ? health : null });
  }
  await sql`UPDATE gateways SET created_at = created_at + interval '1 microsecond' WHERE gateway_id = 'gw-3'`.execute(
    kysely,
  );
  for (let n = 0; n < 7; n++)
    await addEpisode(kysely, { alertId: `A${n}`, cohort: n === 6 ? "fans" : "pumps", receivedAt: minutes(n >> 1) });
  for (let n = 0; n < 12; n++) await addOpenUpdate(kysely, "pumps", `gw-${1 + (n % 2)}`, n);
  admin = await adminOver(database);
}, 60_000);

afterAll(async () => {
  await admin?.close();
  await database?.close();
  if (dataDir) await rm(dataDir, { recursive: true });
});

// biome-ignore lint/suspicious/noExplicitAny: the tests look into documents of many shapes.
type Json = any;

async function get(path: string): Promise<{ status: number; type: string | null; body: Json }> {
  const response = await fetch(admin.url + path);
  return { status: response.status, type: response.headers.get("content-type"), body: await response.json() };
}

async function walk(path: string, limit = 2): Promise<Json[]> {
  const rows: Json[] = [];
  const separator = path.includes("?") ? "&" : "?";
  for (let cursor: string | null = ""; cursor !== null; ) {
    const { status, body }: { status: number; body: Json } = await get(
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
    const { status, body } = await get("/api/v1/health");
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
    const { kysely } = database;
    await addOpenUpdate(kysely, "fans", "gw-3", 100);
    await addOpenUpdate(kysely, "fans", "gw-3", 101);
    await addOpenUpdate(kysely, "fans", "gw-3", 102);
    await sql`UPDATE local_models SET status = 'refused' WHERE model_version = 100`.execute(kysely);
    await sql`UPDATE local_models SET status = 'aggregated', round_id = (SELECT max(round_id) FROM rounds) WHERE model_version = 101`.execute(
      kysely,
    );
    const fans = (await get("/api/v1/health")).body.cohorts[0];
    await sql`DELETE FROM local_models WHERE cohort = 'fans'`.execute(kysely);
    expect(fans.openRound).toMatchObject({ updates: 1, gateways: 1 });
  });

  test("a round carries the candidate's, the champion's and the baselines' scores, and null where nothing was measured", async () => {
    const { body } = await get("/api/v1/rounds?cohort=pumps");
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
    const { kysely } = database;
    const without = (column: string) => sql`${sql.ref(column)} = ${sql.ref(column)} - 'events' - 'vusPr'`;
    const { events: _, vusPr: __, ...zScore } = BASELINES.zScore;
    await sql`UPDATE rounds SET ${without("held_out")}, ${without("champion_held_out")},
      baselines = jsonb_set(baselines, '{zScore}', ${JSON.stringify(zScore)}::jsonb)
      WHERE cohort = 'pumps' AND global_version = 4`.execute(kysely);
    const { status, body } = await get("/api/v1/rounds?cohort=pumps");
    expect(status).toBe(200);
    const round = body.items.find(({ globalVersion }: Json) => globalVersion === 4);
    expect(round.heldOut).toMatchObject({ tp: 132, events: null, vusPr: null });
    expect(round.championHeldOut).toMatchObject({ tp: 100, events: null, vusPr: null });
    expect(round.baselines.zScore).toMatchObject({ tp: 96, events: null, vusPr: null });
    expect(round.baselines.alwaysAlarm.events).toMatchObject({ events: 6, delayMedianS: 12 });
  });

  test("a gateway that has not reported has null for its health, not zeros", async () => {
    const { body } = await get("/api/v1/gateways");
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
    const { body } = await get("/api/v1/models?cohort=pumps&limit=1");
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
    const { body } = await get("/api/v1/episodes?limit=1");
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
    const first = (await get("/api/v1/episodes?limit=3")).body;
    await addEpisode(database.kysely, { alertId: "LATE", cohort: "pumps", receivedAt: minutes(99) });
    const rest = (await get(`/api/v1/episodes?limit=200&cursor=${first.nextCursor}`)).body;
    await sql`DELETE FROM episodes WHERE alert_id = 'LATE'`.execute(database.kysely);
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
    const { status, type, body } = await get(path);
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
    const { nextCursor } = (await get("/api/v1/episodes?limit=1")).body;
    const { status, body } = await get(`/api/v1/rounds?cursor=${nextCursor}`);
    expect(status).toBe(400);
    expect(body.detail).toBe("cursor: is not a cursor of this list: take a page's nextCursor");
  });

  test("an unknown parameter is refused rather than ignored", async () => {
    const { status, body } = await get("/api/v1/rounds?limt=5");
    expect(status).toBe(400);
    expect(body.detail).toBe('the query: Unrecognized key: "limt"');
  });

  test.each(["/api/v1/nothing", "/nothing", "/../package.json", "/%2e%2e/server.ts", "/.."])(
    "%s is a 404",
    async (path) => {
      const { status, type, body } = await raw(path, "127.0.0.1");
      expect(status).toBe(404);
      expect(type).toMatch(/^application\/problem\+json/);
      expect(JSON.parse(body)).toMatchObject({ status: 404, title: "Not Found" });
    },
  );

  test("a path that is not valid percent-encoding is a 400", async () => {
    const { status, type } = await raw("/api/v1/%zz", "127.0.0.1");
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
    const queries = { ...postgresQueries(database.kysely), rounds: () => Promise.reject(new Error("secret detail")) };
    const faulty = await adminOver(database, { queries });
    const response = await fetch(`${faulty.url}/api/v1/rounds`);
    await faulty.close();
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
  });
});

describe("a gateway's standing", () => {
  const reset = (gateway: string, body: string, type = "application/json") =>
    fetch(`${admin.url}/api/v1/gateways/${gateway}/standing/reset`, {
      method: "POST",
      headers: { "content-type": type },
      body,
    });
  const audited = () =>
    database.kysely.selectFrom("audit_log").select(["actor", "action", "subject", "detail"]).execute();
  const pumps = JSON.stringify({ cohort: "pumps" });

  test("is shown with its reason, counts whole after a reset, and that is in the audit log once", async () => {
    await sql`INSERT INTO gateway_standings (gateway_id, cohort, standing, rounds_apart, reason, changed_at)
      VALUES ('gw-2', 'pumps', 0.64, 2, 'it pulled against the others', ${minutes(5)})`.execute(database.kysely);
    const shown = async () =>
      (await get("/api/v1/gateways?cohort=pumps")).body.items.find((item: Json) => item.gatewayId === "gw-2").cohorts;
    expect(await shown()).toMatchObject([
      {
        standing: 0.64,
        standingReason: "it pulled against the others",
        standingChangedAt: minutes(5).toISOString(),
      },
    ]);
    for (let time = 0; time < 2; time++) {
      const response = await reset("gw-2", pumps);
      expect([response.status, await response.json()]).toEqual([200, { standing: 1 }]);
    }
    expect(await shown()).toMatchObject([{ standing: 1, standingReason: null }]);
    expect(await audited()).toEqual([
      {
        actor: "admin (loopback)",
        action: "gateway.standing_reset",
        subject: "cohort/pumps/gateway/gw-2",
        detail: { from: 0.64, to: 1 },
      },
    ]);
  });

  test.each([
    ["a gateway that is not there", "gw-99", pumps, "application/json", 404],
    ["a cohort that is not there", "gw-2", JSON.stringify({ cohort: "no" }), "application/json", 404],
    ["a gateway that is no name", "gw%20x", pumps, "application/json", 400],
    ["no cohort", "gw-2", "{}", "application/json", 422],
    ["a form of another site's page", "gw-2", pumps, "text/plain", 415],
  ])("%s is a problem and changes nothing", async (_, gateway, body, type, status) => {
    const before = await audited();
    const response = await reset(gateway, body, type);
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(await audited()).toEqual(before);
  });

  test("what of a request is wrong is named", async () => {
    const detail = async (response: Response) => ((await response.json()) as Json).detail;
    expect(await detail(await reset("gw-2", '{"cohort":"pumps","all":true}'))).toBe(
      'the body: Unrecognized key: "all"',
    );
    expect(await detail(await reset("gw-2", pumps, "text/plain"))).toBe("the content type must be application/json");
    const plans = `${admin.url}/api/v1/plans`;
    const plan = await fetch(plans, {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "cohort: pumps",
    });
    expect(await detail(plan)).toBe("the content type must be application/yaml");
  });
});

describe("documentation", () => {
  test("the OpenAPI document lists every route with its answers and names each schema once", async () => {
    const { body } = await get("/docs/json");
    expect(body.openapi).toBe("3.1.0");
    const routes = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path.replace("/api/v1/", "")}`),
    );
    expect(routes.sort()).toEqual([
      "delete held-out-streams/{cohort}/{name}",
      "get analytics/days",
      "get analytics/windows",
      "get drift",
      "get episodes",
      "get gateways",
      "get gateways/{gatewayId}",
      "get health",
      "get held-out-streams",
      "get held-out-streams/{cohort}/{name}",
      "get models",
      "get models/{cohort}/{version}",
      "get models/{cohort}/{version}/evaluations",
      "get models/{cohort}/{version}/lineage",
      "get models/{cohort}/{version}/model.onnx",
      "get plans",
      "get plans/{planId}",
      "get plans/{planId}/dry-runs/{dryRunId}",
      "get replicas",
      "get rounds",
      "get rounds/{roundId}",
      "post analytics/days/{date}",
      "post cohorts/{cohort}/activate",
      "post cohorts/{cohort}/pin",
      "post cohorts/{cohort}/unpin",
      "post gateways/{gatewayId}/commands",
      "post gateways/{gatewayId}/standing/reset",
      "post held-out-streams",
      "post held-out-streams/{cohort}/{name}/freeze",
      "post models/{cohort}/{version}/promote",
      "post models/{cohort}/{version}/roll-back",
      "post plans",
      "post plans/{planId}/dry-run",
    ]);
    expect(JSON.stringify(body)).not.toContain("Input");
    for (const path of ["rounds", "models", "gateways", "episodes"]) {
      const { parameters, responses } = body.paths[`/api/v1/${path}`].get;
      expect(parameters.map((parameter: Json) => parameter.name).sort()).toEqual(["cohort", "cursor", "limit"]);
      expect(responses["200"].content["application/json"].schema.properties).toHaveProperty("nextCursor");
      expect(responses["400"].content).toHaveProperty(["application/problem+json"]);
    }
    const named = [
      "ActivatedPlan",
      "CohortOverview",
      "Day",
      "Drift",
      "DryRun",
      "Episode",
      "Evaluation",
      "EventScores",
      "FleetStatistics",
      "Gateway",
      "Health",
      "HeldOutStream",
      "Lineage",
      "MeasuredDryRun",
      "MeasuredRound",
      "Model",
      "Pin",
      "Plan",
      "PlanDetail",
      "Problem",
      "Replica",
      "Round",
      "Scores",
      "Standing",
      "Trial",
      "UploadedPlan",
      "Window",
    ];
    expect(Object.keys(body.components.schemas).sort()).toEqual(named);
    expect(body.components.schemas.Round.properties).toHaveProperty("championHeldOut");
  });

  test("the documentation's own files come from this server", async () => {
    const page = await (await fetch(`${admin.url}/docs/`)).text();
    expect(page).toContain("swagger-ui");
    expect(page).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect((await fetch(`${admin.url}/docs/static/swagger-ui-bundle.js`)).status).toBe(200);
  });
});

describe("who may ask", () => {
  test.each(["0.0.0.0", "::", "192.168.1.10", "coordinator.example", "128.0.0.1", "localhost.example"])(
    "listening on %s is refused: there is no log-in",
    async (host) => {
      const starting = adminOver(database, { address: { host, port: 0 } });
      await expect(starting).rejects.toThrow(/no log-in.*not a loopback address/);
    },
  );

  test("a port that another program has is named, and for whom it was wanted", async () => {
    const port = Number(new URL(admin.url).port);
    const starting = adminOver(database, { address: { host: "127.0.0.1", port } });
    await expect(starting).rejects.toThrow(`cannot listen on 127.0.0.1:${port} for people`);
  });

  test.each([
    "attacker.example",
    "attacker.example:8080",
    "127.0.0.1.attacker.example",
    "10.0.0.1",
    "localhost@attacker.example",
  ])("a request for Host %s is refused, so that no page can rebind its name to this machine", async (host) => {
    const { status, type, body } = await raw("/api/v1/gateways", host);
    expect(status).toBe(421);
    expect(type).toMatch(/^application\/problem\+json/);
    expect(body).not.toContain("gw-1");
  });

  test.each(["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]:8080"])(
    "a request for Host %s is answered",
    async (host) => {
      expect((await raw("/api/v1/health", host)).status).toBe(200);
    },
  );

  test("every answer forbids foreign scripts, framing and sniffing", async () => {
    for (const path of ["/", "/api/v1/health", "/docs/", "/nothing"]) {
      const { headers } = await fetch(admin.url + path);
      const policy = headers.get("content-security-policy");
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy?.includes("unsafe")).toBe(path === "/docs/");
      expect(policy).not.toMatch(/unsafe-eval|script-src[^;]*unsafe/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("x-frame-options")).toBe("DENY");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

/** fetch() sets Host and tidies paths itself; this sends both as they are given. */
async function raw(path: string, host: string): Promise<{ status: number; type: string; body: string }> {
  const { hostname, port } = new URL(admin.url);
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ hostname, port, path, headers: { host } }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, type: String(response.headers["content-type"]), body }),
      );
    });
    sent.on("error", reject).end();
  });
}
