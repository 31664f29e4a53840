// The admin API over a small fleet: two cohorts, three gateways, eight rounds, seven episodes and an open round.
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Kysely, sql } from "kysely";
import { afterAll, beforeAll, expect } from "vitest";
import { type Database, openDatabase } from "../../coordinator/adapters/database.ts";
import type { Tables } from "../../coordinator/adapters/tables.ts";
import type { Admin } from "../../coordinator/admin/server.ts";
import { createLogger } from "../../runtime/log.ts";
import { adminOver } from "./admin.ts";
import { addCohort, addEpisode, addGateway, addOpenUpdate, addRound, minutes, scores } from "./fleet-rows.ts";
import { type Json, jsonOf } from "./json.ts";

/** For all tests of a file: open before the first of them, closed after the last. */
export function adminSite(): AdminSite {
  const site = new AdminSite();
  beforeAll(() => site.open(), 60_000);
  afterAll(() => site.close());
  return site;
}

class AdminSite {
  #dataDir: string | null = null;
  #database: Database | null = null;
  #admin: Admin | null = null;

  async open(): Promise<void> {
    this.#dataDir = await mkdtemp(join(tmpdir(), "flead-admin-"));
    this.#database = await openDatabase({ dataDir: this.#dataDir, log: createLogger("test", "silent") });
    await addFleet(this.#database.kysely);
    this.#admin = await adminOver(this.#database);
  }

  get database(): Database {
    return this.#database ?? expect.unreachable("the site is not open");
  }

  get url(): string {
    return this.#admin?.url ?? expect.unreachable("the site is not open");
  }

  async get(path: string): Promise<{ status: number; type: string | null; body: Json }> {
    const response = await fetch(this.url + path);
    return { status: response.status, type: response.headers.get("content-type"), body: await jsonOf(response) };
  }

  /** fetch() sets Host and tidies paths itself; this sends both as they are given. */
  raw(path: string, host: string): Promise<{ status: number; type: string; body: string }> {
    const { hostname, port } = new URL(this.url);
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

  async close(): Promise<void> {
    await this.#admin?.close();
    await this.#database?.close();
    if (this.#dataDir !== null) await rm(this.#dataDir, { recursive: true });
  }
}

async function addFleet(kysely: Kysely<Tables>): Promise<void> {
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
}
