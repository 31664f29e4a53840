// What the tables do in each home: partitions, retention, caps, uniqueness.
import { sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { postgresAuditLog } from "../../coordinator/adapters/postgres-audit.ts";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { postgresTableKeeper } from "../../coordinator/adapters/postgres-tables.ts";
import { type LimitedTable, TABLE_LIMITS, type TableLimits } from "../../coordinator/core/maintenance.ts";
import { runMaintenance } from "../../coordinator/maintenance.ts";
import { cohortId, gatewayId, planId, updateId } from "../../learning/ids.ts";
import { createLogger } from "../../runtime/log.ts";
import { addCohort, addEpisode, addRound, PLAN_ID, scores } from "../support/fleet-rows.ts";
import { type Home, onEveryHome } from "../support/homes.ts";
import { roomyIntake } from "../support/roomy-intake.ts";

const DAY = 86_400_000;
const NOW = Date.now();
const ago = (days: number) => new Date(NOW - days * DAY);
const log = createLogger("test", "silent");

const ulid = (n: number) => `01K${String(n).padStart(23, "0")}`;
const update = (n: number, cohort = "pumps") => ({
  updateId: updateId(ulid(n)),
  cohort: cohortId(cohort),
  planId: planId(PLAN_ID),
  gatewayId: gatewayId("gw-1"),
  baseVersion: 1,
  localSteps: n,
  samples: 50,
  loss: 0.5,
  encoding: "float32" as const,
  delta: new Uint8Array(8),
});
const stale = { kind: "refused", reason: "stale_base", message: "21 champions behind" } as const;

const HELD_OUT = scores(180, 40, 0.8);
const ROUND = { verdict: "promoted", reason: "", heldOut: HELD_OUT, championHeldOut: null, factor: 1 } as const;

onEveryHome((home: Home) => {
  const db = () => home.database.kysely;
  const store = () => postgresFederationStore(db(), roomyIntake(home.database));
  const keeper = () => postgresTableKeeper(db());
  const maintainWith = (change: Partial<Record<LimitedTable, TableLimits>> = {}, nowMs = NOW) =>
    runMaintenance(
      { keeper: keeper(), limits: { ...TABLE_LIMITS, ...change }, log },
      nowMs,
      new AbortController().signal,
    );
  const only = (retentionDays: number | null, maxBytes: number | null) => ({ retentionDays, maxBytes });
  const column = async <Value>(query: ReturnType<typeof sql<{ value: Value }>>) =>
    (await query.execute(db())).rows.map(({ value }) => value);
  const onTimescale = home.name === "TimescaleDB";

  beforeAll(async () => {
    await addCohort(db(), "pumps", 1);
  });

  test("the contract's tables are there, the ones in time in their home", async () => {
    const tables = await column<string>(sql`SELECT table_name AS value FROM information_schema.tables
      WHERE table_schema = current_schema() AND table_name IN (
        'local_models', 'federated_models', 'model_evaluations', 'model_feedback', 'stream_analysis_results',
        'batch_analysis_results', 'ml_models', 'anomaly_detections', 'dashboard_metrics', 'gateways', 'join_tokens',
        'certificates', 'cohorts', 'plans', 'rounds', 'held_out_streams', 'labels', 'rules', 'deliveries', 'users',
        'api_tokens', 'audit_log', 'model_evaluation_summaries')`);
    expect(tables).toHaveLength(23);
    const homes = await column(
      sql`SELECT table_name AS value FROM time_tables WHERE hypertable = ${onTimescale} ORDER BY 1`,
    );
    expect(homes).toEqual(
      ["anomaly_detections", "audit_log", "dashboard_metrics", "federated_models", "local_models"].concat([
        "model_evaluations",
        "model_feedback",
        "stream_analysis_results",
      ]),
    );
    const partitioned = onTimescale
      ? sql<{ value: string }>`SELECT hypertable_name AS value FROM timescaledb_information.hypertables ORDER BY 1`
      : sql<{ value: string }>`SELECT partrelid::regclass::text AS value FROM pg_partitioned_table
                               WHERE partrelid::regclass::text NOT LIKE '%\_history' ORDER BY 1`;
    expect(await column(partitioned)).toEqual(homes);
  });

  describe("updates", () => {
    test("an update counts once, whatever comes between, and says what it was the first time", async () => {
      expect(await store().addUpdate(update(1))).toBe("stored");
      expect(await store().addUpdate(update(1))).toBe("known");
      expect(await store().addRefusal(update(1), stale)).toBe("known");
      expect(await store().addRefusal(update(2), stale)).toBe("refused");
      expect(await store().addRefusal(update(2), stale)).toBe("refused");
      expect(await store().addUpdate(update(2))).toBe("known");
      const rows = await db()
        .selectFrom("local_models")
        .select(["update_id", "status", "delta"])
        .orderBy("id")
        .execute();
      expect(rows).toMatchObject([
        { update_id: ulid(1), status: "accepted", delta: Buffer.alloc(8) },
        { update_id: ulid(2), status: "refused", delta: null },
      ]);
    });

    test("of two that come at once one is stored", async () => {
      const answers = await Promise.all([3, 3, 3, 3].map((n) => store().addUpdate(update(n))));
      expect(answers.toSorted()).toEqual(["known", "known", "known", "stored"]);
    });

    const add = (n: number, status: "accepted" | "refused", days: number) =>
      sql`INSERT INTO local_models (update_id, cohort, plan_id, gateway_id, model_version, global_version,
                                    samples_processed, encoding, status, created_at)
          VALUES (${ulid(n)}, 'pumps', ${PLAN_ID}, 'gw-1', ${n}, 1, 50, 'float32', ${status}, ${ago(days)})`.execute(
        db(),
      );
    const left = () =>
      column<string>(sql`SELECT update_id AS value FROM local_models WHERE model_version BETWEEN 10 AND 19 ORDER BY 1`);

    test("one that waits for its round outlives every limit; history does not", async () => {
      await add(10, "accepted", 400);
      await add(11, "accepted", 50);
      await add(12, "refused", 300);
      await add(13, "refused", 60);
      await maintainWith();
      expect(await left()).toEqual([10, 11, 13].map(ulid));
      await maintainWith({ local_models: only(1, 1) });
      expect(await left()).toEqual([10, 11].map(ulid));
      expect((await store().openRound({ cohort: cohortId("pumps"), planId: planId(PLAN_ID) })).updates).toBe(4);
    });

    test("an id is forgotten when it is old and its update too stale to count, in its own cohort", async () => {
      await addCohort(db(), "fans", 23); // 20 behind are allowed
      const champion = (cohort: string, version: number, days: number) =>
        addRound(db(), { ...ROUND, cohort, version, closedAt: ago(days) });
      for (let version = 2; version <= 23; version++) await champion("fans", version, 300 - version * 10);
      await champion("pumps", 2, 1);
      const remember = (n: number, cohort: string, days: number) =>
        sql`INSERT INTO update_ids VALUES (${ulid(n)}, ${cohort}, false, ${ago(days)})`.execute(db());
      await remember(20, "fans", 271); // when champion 2 was the last: 21 behind today
      await remember(21, "fans", 269); // when champion 3 was: 20 behind
      await remember(22, "pumps", 271);
      const known = sql<{ value: string }>`SELECT update_id AS value FROM update_ids
        WHERE update_id >= ${ulid(20)} ORDER BY 1`;
      await maintainWith({ update_ids: only(300, null) });
      expect(await column(known)).toEqual([20, 21, 22].map(ulid));
      await maintainWith();
      expect(await column(known)).toEqual([21, 22].map(ulid));
    });
  });

  test("what a champion was made from stays, however old", async () => {
    await addRound(db(), { ...ROUND, cohort: "pumps", version: 3, closedAt: ago(3000) });
    await maintainWith();
    const model = db().selectFrom("federated_models").select("weights").where("global_version", "=", 3);
    expect(await model.where("cohort", "=", "pumps").execute()).toEqual([{ weights: Buffer.alloc(8) }]);
  });

  test("the summary of an evaluation outlives its rows", async () => {
    await sql`INSERT INTO model_evaluations VALUES ('pumps', 3, 's', 's', 0, 1, 1, true, 0.9, 2, 1, ${ago(40)})`.execute(
      db(),
    );
    await maintainWith();
    if (onTimescale) await runPolicy("policy_retention", "model_evaluations");
    expect(await db().selectFrom("model_evaluations").selectAll().execute()).toEqual([]);
    const { rows } =
      await sql`SELECT * FROM model_evaluation_summaries WHERE cohort = 'pumps' AND global_version = 3`.execute(db());
    const { f1, prAuc } = HELD_OUT;
    expect(rows).toMatchObject([
      { n: 1000, true_positives: 180, false_positives: 40, false_negatives: 20, f1, pr_auc: prAuc },
    ]);
  });

  describe("partitions", () => {
    const metric = (at: Date) =>
      db()
        .insertInto("dashboard_metrics")
        .values({ metric_name: "m", metric_value: 1, metric_unit: "", recorded_at: at })
        .execute();
    const metrics = async () => (await db().selectFrom("dashboard_metrics").selectAll().execute()).length;
    const partitions = () =>
      column<Date | null>(sql`SELECT since AS value FROM time_partitions('dashboard_metrics') ORDER BY since`);
    const weeks = async (ofRest = false) =>
      (await partitions()).filter((since) => (since === null) === ofRest).map((since) => Number(since));

    test("there are some for two weeks ahead; a hypertable makes its own", async () => {
      await maintainWith();
      const ahead = (await weeks()).filter((since) => since > NOW);
      expect(ahead.length).toBe(onTimescale ? 0 : 2);
      await maintainWith();
      expect((await weeks()).length, "once").toBe(new Set(await weeks()).size);
    });

    test("a row of any time finds a place, and its partition later takes it in", async () => {
      await metric(ago(30));
      await metric(new Date(NOW + 3650 * DAY));
      expect(await metrics()).toBe(2);
      await maintainWith();
      const since = (await weeks()).find((week) => week <= ago(30).getTime() && ago(30).getTime() < week + 7 * DAY);
      expect(since).toBeDefined();
      const place = onTimescale ? "dashboard_metrics" : "dashboard_metrics_rest";
      const rest = await sql<{ value: number }>`SELECT count(*) AS value FROM ${sql.table(place)}`.execute(db());
      expect(rest.rows[0]?.value, "of the far future").toBe(onTimescale ? 2 : 1);
      expect(await metrics()).toBe(2);
    });

    test("a row of a partition that was dropped goes with the next pass", async () => {
      await metric(ago(300));
      expect(await metrics()).toBe(3);
      await maintainWith();
      if (onTimescale) await runPolicy("policy_retention", "dashboard_metrics");
      expect(await metrics()).toBe(2);
    });

    test("over its size a table loses its oldest partitions, never today's", async () => {
      await metric(ago(20));
      await metric(ago(0));
      await maintainWith();
      await maintainWith({ dashboard_metrics: only(null, 1) });
      expect(await metrics(), "today's and the far future's").toBe(2);
    });
  });

  const runPolicy = async (policy: string, table: string) => {
    const [job] = await column<number>(sql`SELECT job_id AS value FROM timescaledb_information.jobs
      WHERE proc_name = ${policy} AND hypertable_name = ${table}`);
    if (job === undefined) throw new Error(`${table} has no ${policy}`);
    await sql`CALL run_job(${sql.lit(job)})`.execute(db());
  };

  describe.runIf(onTimescale)("policies of TimescaleDB", () => {
    const policies = () =>
      column<string>(sql`SELECT proc_name || ' ' || hypertable_name || ' ' ||
          extract(day FROM coalesce(config ->> 'drop_after', config ->> 'compress_after')::interval) AS value
        FROM timescaledb_information.jobs JOIN time_tables ON table_name = hypertable_name ORDER BY 1`);
    const detect = (days: number) =>
      db()
        .insertInto("anomaly_detections")
        .values({
          ...{ model_id: 1, device_id: `pump-${days}`, metric_name: "flow", value: days, anomaly_score: -0.1 },
          ...{ is_anomaly: true, confidence: 0.9, timestamp: ago(days) },
        })
        .execute();

    test("they are set from the settings, changed with them, and never expire what has open rows", async () => {
      await maintainWith();
      expect(await policies()).toEqual([
        "policy_compression anomaly_detections 14",
        "policy_compression audit_log 14",
        "policy_compression dashboard_metrics 14",
        "policy_compression local_models 14",
        "policy_compression model_evaluations 14",
        "policy_compression stream_analysis_results 14",
        "policy_retention anomaly_detections 90",
        "policy_retention audit_log 730",
        "policy_retention dashboard_metrics 90",
        "policy_retention model_evaluations 30",
        "policy_retention model_feedback 180",
        "policy_retention stream_analysis_results 14",
      ]);
      await maintainWith({ audit_log: only(null, null), model_feedback: only(10, null) });
      const changed = await policies();
      expect(changed).toContain("policy_retention model_feedback 10");
      expect(changed.filter((policy) => policy.includes("audit_log"))).toEqual(["policy_compression audit_log 14"]);
    });

    test("what is old is compressed and reads the same, what is too old is dropped", async () => {
      for (const days of [1, 40, 41, 200]) await detect(days);
      await maintainWith();
      await runPolicy("policy_compression", "anomaly_detections");
      await runPolicy("policy_retention", "anomaly_detections");
      const rows = await db().selectFrom("anomaly_detections").select("value").orderBy("value").execute();
      expect(rows.map(({ value }) => value)).toEqual([1, 40, 41]);
      const compressed = await column<boolean>(sql`SELECT is_compressed AS value FROM timescaledb_information.chunks
        WHERE hypertable_name = 'anomaly_detections' ORDER BY range_start`);
      expect(compressed.at(0)).toBe(true);
      expect(compressed.at(-1)).toBe(false);
    });

    test("an update in a compressed chunk still finds its round", async () => {
      await runPolicy("policy_compression", "local_models");
      const counted = await sql`UPDATE local_models SET status = 'aggregated', round_id = 1
        WHERE update_id = ${ulid(10)} AND status = 'accepted'`.execute(db());
      expect(counted.numAffectedRows).toBe(1n);
    });
  });

  describe("tables that are not in time", () => {
    const episodes = async () =>
      (await db().selectFrom("episodes").select("alert_id").orderBy("alert_id").execute()).map(
        ({ alert_id }) => alert_id,
      );

    test("rows go when they are too old, and what is at work stays", async () => {
      await addEpisode(db(), { alertId: "old", cohort: "pumps", receivedAt: ago(400) });
      await addEpisode(db(), { alertId: "young", cohort: "pumps", receivedAt: ago(300) });
      await sql`INSERT INTO rules (name, matches, target) VALUES ('all', '{}', '{}')`.execute(db());
      await sql`INSERT INTO deliveries (rule_id, alert_id, transition, status, created_at)
        SELECT rule_id, status, 'raised', status, ${ago(100)}
        FROM rules, unnest(ARRAY['waiting', 'delivered', 'failed']) status`.execute(db());
      await maintainWith();
      expect(await episodes()).toEqual(["young"]);
      expect(await column(sql`SELECT alert_id AS value FROM deliveries`)).toEqual(["waiting"]);
    });

    test("a gateway that was not seen for a year goes with all that was kept of it, and nothing of the others does", async () => {
      const seen = async (id: string, days: number, connected = false) => {
        await sql`INSERT INTO gateways (gateway_id, site, agent_version, connected, last_seen_at)
          VALUES (${id}, 'north', '1', ${connected}, ${ago(days)})`.execute(db());
        await sql`INSERT INTO gateway_standings (gateway_id, cohort, standing, changed_at)
          VALUES (${id}, 'pumps', 0.5, ${ago(400)})`.execute(db());
        await sql`INSERT INTO gateway_statistics (cohort, gateway_id, plan_id, global_version, devices, reported_at)
          VALUES ('pumps', ${id}, ${PLAN_ID}, 1, 1, ${ago(days)})`.execute(db());
      };
      await seen("gone", 366);
      await seen("connected", 366, true);
      await seen("away", 100);
      await maintainWith();
      const kept = (table: string) =>
        column(sql`SELECT gateway_id AS value FROM ${sql.table(table)} ORDER BY gateway_id`);
      expect(await kept("gateways")).toEqual(["away", "connected"]);
      expect(await kept("gateway_standings")).toEqual(["away", "connected"]);
      expect(await kept("gateway_statistics")).toEqual([]);
    });

    test("over its size a table loses its oldest rows", async () => {
      for (let n = 0; n < 100; n++) {
        await addEpisode(db(), {
          alertId: `e${String(n).padStart(3, "0")}`,
          cohort: "pumps",
          receivedAt: ago(200 - n),
        });
      }
      await sql`ANALYZE episodes`.execute(db());
      const { rows, bytes } = await keeper().size("episodes");
      expect(rows).toBe(101);
      await maintainWith({ episodes: only(null, Math.floor(bytes * 0.5)) });
      const left = await episodes();
      expect(left.length).toBeGreaterThan(45);
      expect(left.length).toBeLessThan(55);
      expect(left.at(-1), "the newest").toBe("e099");
      expect(left, "the oldest").not.toContain("young");
    });
  });

  test("a device's channel has one active detector and any number of retired ones", async () => {
    const add = (status: "active" | "retired") =>
      sql`INSERT INTO ml_models (device_id, metric_name, model_type, status, settings, model, model_sha256, threshold,
                                 sample_count, retired_at)
          VALUES ('pump-1', 'flow', 'isolation_forest', ${status}, '{}', '', '', 0, 100,
                  ${status === "retired" ? ago(0) : null})`.execute(db());
    await add("active");
    await add("retired");
    await add("retired");
    await expect(add("active")).rejects.toMatchObject({ code: "23505", constraint: "ml_models_active" });
  });

  describe("the audit log", () => {
    const entries = () =>
      db().selectFrom("audit_log").select(["actor", "action", "subject", "detail"]).orderBy("id").execute();

    test("keeps what was done in the order it was done, with bounded detail", async () => {
      const audit = postgresAuditLog(db());
      await audit.record({ actor: "ann", action: "model.pin", subject: "cohort/pumps/version/3" });
      await audit.record({ actor: "coordinator", action: "x".repeat(300), subject: "s", detail: { why: "w" } });
      await audit.record({
        actor: "ann",
        action: "rule.change",
        subject: "rule/1",
        detail: { why: "w".repeat(20_000) },
      });
      expect(await entries()).toEqual([
        { actor: "ann", action: "model.pin", subject: "cohort/pumps/version/3", detail: {} },
        { actor: "coordinator", action: "x".repeat(256), subject: "s", detail: { why: "w" } },
        { actor: "ann", action: "rule.change", subject: "rule/1", detail: { omittedBytes: 20_011 } },
      ]);
    });

    test("has no entry of what was rolled back", async () => {
      const undone = db()
        .transaction()
        .execute(async (trx) => {
          await postgresAuditLog(trx).record({ actor: "ann", action: "gateway.revoke", subject: "gateway/gw-1" });
          throw new Error("no");
        });
      await expect(undone).rejects.toThrow("no");
      expect((await entries()).map(({ action }) => action)).not.toContain("gateway.revoke");
    });
  });
});
