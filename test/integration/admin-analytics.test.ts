import { afterAll, beforeAll, expect, test } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import type { Admin } from "../../coordinator/admin/server.ts";
import { deviceId, gatewayId } from "../../learning/ids.ts";
import { createLogger } from "../../runtime/log.ts";
import { adminOver } from "../support/admin.ts";
import { analyticsOf, windowsOf } from "../support/analytics.ts";
import { temporaryFolder } from "../support/temp.ts";

const DAYS = ["2026-11-22", "2026-11-23"];
const noonMs = (day: string) => Date.parse(`${day}T12:00:00Z`);
const dataDir = temporaryFolder("admin-analytics");
const log = createLogger("test", "silent");

let database: Database;
let admin: Admin;
beforeAll(async () => {
  database = await openDatabase({ dataDir, log });
  const analytics = analyticsOf(database.kysely);
  for (const day of DAYS) {
    const rows = Array.from({ length: 100 }, (_, row) => ({ atMs: noonMs(day) + row * 3_000, value: row }));
    for (const device of ["pump-1", "pump-2"]) {
      for (const metricName of ["flow", "current"]) {
        const windows = windowsOf(rows, { deviceId: deviceId(device), metricName });
        await analytics.addWindows([{ gatewayId: gatewayId("gw-1"), windows }]);
      }
    }
    await analytics.analyseDay(day, new AbortController().signal);
  }
  const late = windowsOf([{ atMs: noonMs("2026-11-22"), value: 7 }]);
  await analytics.addWindows([{ gatewayId: gatewayId("gw-2"), windows: late }]);
  admin = await adminOver(database);
});
afterAll(async () => {
  await admin?.close();
  await database?.close();
});

interface Listed {
  readonly status: number;
  readonly body: {
    readonly items: Record<string, unknown>[];
    readonly nextCursor: string | null;
    readonly detail: string;
  };
}

async function get(path: string): Promise<Listed> {
  const response = await fetch(`${admin.url}/api/v1/analytics/${path}`);
  return { status: response.status, body: (await response.json()) as Listed["body"] };
}

async function walk(path: string, limit: number): Promise<string[]> {
  const rows: string[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const { body }: Listed = await get(`${path}&limit=${limit}${cursor && `&cursor=${cursor}`}`);
    rows.push(...body.items.map((item) => JSON.stringify(item)));
    cursor = body.nextCursor;
  }
  return rows;
}

test("a device's windows come newest first, in pages that hold each of them once", async () => {
  const all = (await get("windows?device_id=pump-1&limit=200")).body.items.map((item) => JSON.stringify(item));
  expect(all).toHaveLength(41);
  expect(await walk("windows?device_id=pump-1", 6)).toEqual(all);
  const starts = all.map((item) => JSON.parse(item).windowStart as string);
  expect(starts).toEqual([...starts].sort().reverse());
});

test("windows are narrowed down to a channel and to a time, whose end is excluded", async () => {
  const path = "windows?device_id=pump-1&metric_name=flow&from=2026-11-23T12:01:00Z&to=2026-11-23T13:02:00%2B01:00";
  const { items } = (await get(path)).body;
  expect(items.map(({ windowStart }) => windowStart)).toEqual(["2026-11-23T12:01:30.000Z", "2026-11-23T12:01:00.000Z"]);
  expect(items[0]).toEqual({
    cohort: "pumps",
    gatewayId: "gw-1",
    deviceId: "pump-1",
    metricName: "flow",
    windowStart: "2026-11-23T12:01:30.000Z",
    windowEnd: "2026-11-23T12:02:00.000Z",
    rawValue: 39,
    movingAvg30s: 34.5,
    movingAvg5m: 19.5,
    min: 30,
    max: 39,
    stddev: expect.closeTo(2.8722813, 6),
    zScore: 0.5,
    isAnomaly: false,
    anomalyConfidence: null,
    sampleCount: 10,
    lateCount: 0,
  });
});

test("days come newest first, in pages, and are narrowed down to a device, a channel and to days", async () => {
  const all = (await get("days?limit=200")).body.items.map((item) => JSON.stringify(item));
  expect(all).toHaveLength(8);
  expect(await walk("days?", 3)).toEqual(all);
  const { items } = (await get("days?device_id=pump-2&metric_name=flow&from=2026-11-23&to=2026-11-23")).body;
  expect(items).toEqual([
    {
      cohort: "pumps",
      gatewayId: "gw-1",
      deviceId: "pump-2",
      metricName: "flow",
      analysisDate: "2026-11-23",
      avg: 49.5,
      min: 0,
      max: 99,
      stddev: expect.closeTo(28.86607, 5),
      sampleCount: 100,
      anomalyCount: 0,
      lateCount: 0,
      analysisTimestamp: expect.any(String),
    },
  ]);
});

test.each([
  ["windows", "device_id"],
  ["windows?device_id=no%20device", "device_id"],
  ["windows?device_id=pump-1&metric_name=%00", "metric_name"],
  ["windows?device_id=pump-1&from=yesterday", "from"],
  ["windows?device_id=pump-1&limit=201", "limit"],
  ["windows?device_id=pump-1&cursor=bm8", "cursor"],
  ["days?from=2026-13-01", "from"],
  ["days?day=2026-11-23", "day"],
])("%s is answered with what is wrong: %s", async (path, named) => {
  const { status, body } = await get(path);
  expect(status).toBe(400);
  expect(body.detail).toContain(named);
});

const analyse = (date: string, headers: Record<string, string> = {}) =>
  fetch(`${admin.url}/api/v1/analytics/days/${date}`, { method: "POST", headers });

test("a day is analysed anew on request", async () => {
  const response = await analyse("2026-11-22");
  expect([response.status, await response.json()]).toEqual([200, { date: "2026-11-22", series: 5 }]);
});

test("a day without windows is not found, and what is no day is refused", async () => {
  expect((await analyse("2026-11-01")).status).toBe(404);
  expect((await analyse("2026-02-30")).status).toBe(400);
});

test("while an analysis runs another one conflicts", async () => {
  const other = await database.connect("test");
  await other.query("SELECT pg_advisory_lock(4021993)");
  const response = await analyse("2026-11-22");
  await other.end();
  expect([response.status, response.headers.get("content-type")]).toEqual([
    409,
    "application/problem+json; charset=utf-8",
  ]);
});

test("a page of another origin cannot have a day analysed, the coordinator's own page can", async () => {
  for (const origin of ["http://attacker.example", "null", "http://127.0.0.1:1"]) {
    expect((await analyse("2026-11-22", { origin })).status).toBe(403);
  }
  expect((await analyse("2026-11-22", { origin: admin.url })).status).toBe(200);
});
