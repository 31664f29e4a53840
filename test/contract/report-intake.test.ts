// What the intake of reports promises, on each home: durable before it resolves, and one report's fault is not the others'.
import { ulid } from "ulid";
import { expect, test } from "vitest";
import { postgresAnalytics } from "../../coordinator/adapters/postgres-analytics.ts";
import { postgresGatewayStore } from "../../coordinator/adapters/postgres-gateway-store.ts";
import { openReportIntake, type TakenReport } from "../../coordinator/adapters/report-intake.ts";
import type { ReportedEpisode } from "../../coordinator/ports/gateway-store.ts";
import { cohortId, deviceId, gatewayId, planId } from "../../learning/ids.ts";
import { windowsOf } from "../support/analytics.ts";
import { PLAN_ID } from "../support/fleet-rows.ts";
import { onEveryHome } from "../support/homes.ts";

const START_MS = Date.parse("2026-11-24T12:00:00Z");

const anEpisode = (change: Partial<ReportedEpisode> = {}): ReportedEpisode => ({
  alertId: ulid(),
  deviceId: "pump-1",
  cohort: "pumps",
  modelKind: "z_score",
  globalVersion: 0,
  state: "active",
  severity: "minor",
  score: 1,
  threshold: 0.5,
  confidence: 0.9,
  contributors: [],
  count: 3,
  startedAtMs: START_MS,
  updatedAtMs: START_MS,
  ...change,
});

const aReport = (gateway: string, change: Partial<TakenReport> = {}): TakenReport => ({
  gatewayId: gatewayId(gateway),
  episodes: [],
  cohorts: [],
  statistics: [],
  health: null,
  windows: [],
  ...change,
});

onEveryHome((home) => {
  const open = async (...gateways: string[]) => {
    const { kysely } = home.database;
    const store = postgresGatewayStore(kysely, { replicaId: "one", version: "1", alone: true });
    for (const id of gateways) {
      await store.connected({ gatewayId: gatewayId(id), site: "north", agentVersion: "1", cohorts: [] });
    }
    return openReportIntake(store, postgresAnalytics(kysely));
  };
  const gatewayRow = (id: string) =>
    home.database.kysely
      .selectFrom("gateways")
      .select(["health", "cohorts"])
      .where("gateway_id", "=", id)
      .executeTakeFirstOrThrow();
  const countOf = async (table: "episodes" | "stream_analysis_results", gateway: string) =>
    (await home.database.kysely.selectFrom(table).select("device_id").where("gateway_id", "=", gateway).execute())
      .length;

  test("reports that come together are all stored, each with what it tells", async () => {
    const ids = Array.from({ length: 30 }, (_, n) => `together-${n}`);
    const intake = await open(...ids);
    const rows = Array.from({ length: 30 }, (_, row) => ({ atMs: START_MS + row * 2_000, value: row }));
    const windows = windowsOf(rows, { deviceId: deviceId("pump-1"), cohort: cohortId("pumps") });
    await Promise.all(
      ids.map((id, n) => intake.add(aReport(id, { health: { judged: n }, episodes: [anEpisode()], windows }))),
    );
    for (const [n, id] of ids.entries()) {
      expect(await gatewayRow(id)).toMatchObject({ health: { judged: n } });
      expect(await countOf("episodes", id)).toBe(1);
      expect(await countOf("stream_analysis_results", id)).toBe(windows.length);
    }
  });

  test("a report that says nothing of health leaves what was said; of two of a gateway the last stands", async () => {
    const intake = await open("twice");
    const episode = anEpisode();
    await Promise.all([
      intake.add(aReport("twice", { health: { judged: 1 }, episodes: [episode] })),
      intake.add(aReport("twice", { episodes: [{ ...episode, state: "cleared", updatedAtMs: START_MS + 1 }] })),
    ]);
    expect(await gatewayRow("twice")).toMatchObject({ health: { judged: 1 } });
    const kept = home.database.kysely.selectFrom("episodes").select("state").where("alert_id", "=", episode.alertId);
    expect(await kept.execute()).toEqual([{ state: "cleared" }]);
  });

  test("a report that is stored after its gateway left, or went to another coordinator, does not bring it back", async () => {
    const intake = await open("left", "moved");
    const storeOf = (replicaId: string) =>
      postgresGatewayStore(home.database.kysely, { replicaId, version: "1", alone: false });
    await storeOf("one").disconnected(gatewayId("left"));
    await storeOf("two").connected({ gatewayId: gatewayId("moved"), site: "north", agentVersion: "1", cohorts: [] });
    await Promise.all(["left", "moved"].map((id) => intake.add(aReport(id, { health: { judged: 1 } }))));
    const sessions = await home.database.kysely
      .selectFrom("gateways")
      .select(["gateway_id", "connected", "replica_id", "health"])
      .where("gateway_id", "in", ["left", "moved"])
      .orderBy("gateway_id")
      .execute();
    expect(sessions).toEqual([
      { gateway_id: "left", connected: false, replica_id: null, health: { judged: 1 } },
      { gateway_id: "moved", connected: true, replica_id: "two", health: { judged: 1 } },
    ]);
  });

  test("an episode is its gateway's: another one changes nothing of it", async () => {
    const intake = await open("owner", "other");
    const episode = anEpisode();
    await intake.add(aReport("owner", { episodes: [episode] }));
    await intake.add(aReport("other", { episodes: [{ ...episode, score: 9, updatedAtMs: START_MS + 1 }] }));
    const kept = home.database.kysely.selectFrom("episodes").select("score").where("alert_id", "=", episode.alertId);
    expect(await kept.execute()).toEqual([{ score: 1 }]);
  });

  test("a report that the database can't take is refused, and those that came with it are stored", async () => {
    const intake = await open("good-1", "bad", "good-2");
    const ofNoCohort = {
      cohort: cohortId("nobodys"),
      planId: planId(PLAN_ID),
      globalVersion: 1,
      devices: 1,
      scales: null,
      ratios: null,
    };
    const outcomes = await Promise.allSettled([
      intake.add(aReport("good-1", { health: { judged: 1 } })),
      intake.add(aReport("bad", { health: { judged: 2 }, statistics: [ofNoCohort] })),
      intake.add(aReport("good-2", { health: { judged: 3 } })),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((await gatewayRow("bad")).health).toBeNull();
    expect((await gatewayRow("good-2")).health).toEqual({ judged: 3 });
  });
});
