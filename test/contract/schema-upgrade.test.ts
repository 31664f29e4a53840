// A database of a coordinator from before tables were in time: what it holds is there afterwards, and goes on.
import { join } from "node:path";
import { sql } from "kysely";
import type pg from "pg";
import Postgrator from "postgrator";
import { expect, test } from "vitest";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { afterRound } from "../../coordinator/core/cohort-state.ts";
import { contributionsOf } from "../../coordinator/core/contributions.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId, gatewayId, updateId } from "../../learning/ids.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { cohortState } from "../support/cohort-state.ts";
import { onEveryHome } from "../support/homes.ts";
import { testPlan } from "../support/plan-settings.ts";
import { readTables } from "../support/read-tables.ts";
import { roomyIntake } from "../support/roomy-intake.ts";

const PUMPS = cohortId("pumps");
const compiled = compilePlan(testPlan);
const { planId, bytes } = encodeBundle(compiled);
const WEIGHTS = Buffer.from(encodeWeights(compiled.initialWeights));
const DELTA = Buffer.from(encodeWeights(compiled.initialWeights.map(() => 0.5)));
const SHARES = [0.4, 0.3, 0.3];
const ulid = (n: number) => `01K${String(n).padStart(23, "0")}`;

let before: Awaited<ReturnType<typeof readTables>>;

async function earlierDatabase(client: pg.Client): Promise<void> {
  const migrations = new Postgrator({
    driver: "pg",
    migrationPattern: join(packageRoot, "coordinator/adapters/sql/*.sql"),
    schemaTable: "schema_versions",
    execQuery: (query) => client.query(query),
  });
  await migrations.migrate("002");
  const federation = JSON.stringify(cohortState().federation);
  await client.query("INSERT INTO plans VALUES ($1, $2, $3)", [planId, compiled.manifest, bytes]);
  await client.query(
    "INSERT INTO cohorts (cohort, plan_id, federation, champion_version, last_version) VALUES ('pumps', $1, $2, 2, 3)",
    [planId, federation],
  );
  const heldOut = {
    n: 2,
    tp: 1,
    fp: 1,
    fn: 0,
    tn: 0,
    precision: 0.5,
    recall: 1,
    f1: 2 / 3,
    prAuc: 0.5,
    f1Interval: [0, 1],
  };
  await client.query(
    `INSERT INTO rounds (cohort, base_version, global_version, rule, verdict, reason, updates, gateways, samples, held_out,
                         baselines, learning_rate_factor, opened_at, closed_at)
     SELECT 'pumps', n - 1, n, 'fedavg', CASE n WHEN 2 THEN 'promoted' ELSE 'rejected' END, '', 2, 2, 100, $1, '{}', 1, at, at
     FROM (VALUES (2, now() - interval '200 days'), (3, now() - interval '10 days')) AS r (n, at)`,
    [heldOut],
  );
  await client.query(
    `INSERT INTO federated_models (cohort, global_version, aggregation_round, plan_id, num_devices, num_gateways,
                                   total_samples, rule, weights, status, parent_version, created_at)
     SELECT 'pumps', n, nullif(n - 1, 0), $1, 2, 2, 100, CASE n WHEN 1 THEN 'initial' ELSE 'fedavg' END, $2,
            CASE n WHEN 3 THEN 'rejected' ELSE 'champion' END, nullif(n - 1, 0), now() - interval '400 days' + n * interval '130 days'
     FROM generate_series(1, 3) n`,
    [planId, WEIGHTS],
  );
  await client.query(
    `INSERT INTO local_models (update_id, cohort, plan_id, gateway_id, model_version, global_version, samples_processed,
                               loss, status, reason, encoding, delta, round_id, weight, created_at)
     SELECT '01K' || lpad(n::text, 23, '0'), 'pumps', $1, 'gw-' || n % 2, n, 2, 50, 0.5, status,
            CASE status WHEN 'refused' THEN 'not_finite: NaN' END, 'float32', CASE status WHEN 'accepted' THEN $2::bytea END,
            CASE status WHEN 'aggregated' THEN 1 + n % 2 END, CASE status WHEN 'aggregated' THEN 0.5 END,
            now() - (9 - n) * interval '30 days'
     FROM unnest(ARRAY['aggregated', 'aggregated', 'refused', 'aggregated', 'aggregated', 'refused', 'accepted', 'accepted'])
          WITH ORDINALITY AS u (status, n)`,
    [planId, DELTA],
  );
  await client.query(
    `INSERT INTO model_evaluations (cohort, global_version, stream, device_id, row_index, prediction_result, actual_result,
                                    is_correct, confidence, score, threshold, evaluation_timestamp)
     SELECT 'pumps', v, 's', 's', i, 1, i, i = 1, 0.9, 2, 1, now() - (4 - v) * interval '50 days'
     FROM generate_series(2, 3) v, generate_series(0, 1) i`,
  );
  await client.query(
    `INSERT INTO model_feedback (cohort, global_version, gateway_id, promoted, learning_rate_factor, reason, acknowledged_at, created_at)
     SELECT 'pumps', v, 'gw-' || g, v = 2, 1, '', CASE v WHEN 2 THEN now() END, now() - (4 - v) * interval '50 days'
     FROM generate_series(2, 3) v, generate_series(0, 1) g`,
  );
  before = await readTables((text) => client.query(text));
}

onEveryHome((home) => {
  const db = () => home.database.kysely;
  const store = () => postgresFederationStore(db(), roomyIntake(home.database));

  test("nothing is lost or changed", async () => {
    const after = await readTables(async (text) => sql.raw<unknown>(text).execute(db()));
    const { rows: cohorts } = await sql
      .raw<unknown>(
        "SELECT to_jsonb(c) || to_jsonb(p) AS row FROM cohorts c JOIN cohort_plans p USING (cohort) ORDER BY c.cohort",
      )
      .execute(db());
    expect({ ...after, cohorts }).toMatchObject(before); // later migrations add columns, and give plans a row of their own
  });

  test("what a round counted goes with it from now on, as far as it was kept", async () => {
    const rounds = await db().selectFrom("rounds").select("contributions").orderBy("round_id").execute();
    const kept = { baseVersion: 2, samples: 50, stalenessWeight: null, share: 0.5, part: null };
    const contribution = (n: number) => ({ updateId: ulid(n), gatewayId: `gw-${n % 2}`, ...kept });
    expect(rounds.map(({ contributions }) => contributions)).toEqual([
      [2, 4].map(contribution),
      [1, 5].map(contribution),
    ]);
  });

  test("an update that came before is known, one that was refused stays so, and the sequence goes on", async () => {
    const [cohort] = await store().loadCohorts();
    if (cohort === undefined) throw new Error("there is no cohort");
    const update = (n: number) => ({
      updateId: updateId(ulid(n)),
      cohort: PUMPS,
      planId,
      gatewayId: gatewayId("gw-1"),
      baseVersion: 2,
      localSteps: n,
      samples: 50,
      loss: 0.5,
      encoding: "float32" as const,
      delta: DELTA,
    });
    const stale = { kind: "refused", reason: "stale_base", message: "" } as const;
    expect(await store().addUpdate(update(1))).toBe("known");
    expect(await store().addRefusal(update(7), stale)).toBe("known");
    expect(await store().addRefusal(update(3), stale)).toBe("refused");
    expect(await store().addUpdate(update(9))).toBe("stored");
    const ids = await db().selectFrom("local_models").select("id").where("update_id", "=", ulid(9)).execute();
    expect(ids).toEqual([{ id: 9 }]);
  });

  test("the round that was open closes, and each of its updates counts once", async () => {
    const [cohort] = await store().loadCohorts();
    if (cohort === undefined) throw new Error("there is no cohort");
    expect(cohort).toMatchObject({ champion: { version: 2 }, lastVersion: 3, championVersions: [1, 2] });
    const updates = await store().roundUpdates(cohort);
    expect(updates.map((each) => each.updateId)).toEqual([7, 8, 9].map(ulid));
    const candidate = { version: 4, weights: compiled.initialWeights, trained: true, fleet: noFleet };
    await store().recordRound({
      before: cohort,
      after: afterRound(cohort, candidate, true, cohort.rate, cohort.server),
      candidate,
      rule: "fedavg",
      verdict: "promoted",
      reason: "",
      updates,
      contributions: contributionsOf(updates, { shares: SHARES, gateways: new Map() }, () => 0),
      heldOut: null,
      championHeldOut: null,
      baselines: null,
      streams: [],
      evaluatedRows: [],
      feedback: [],
      standings: [],
    });
    expect(await store().roundUpdates(cohort)).toEqual([]);
    const counted = db().selectFrom("local_models").select(["update_id", "weight", "delta"]).where("round_id", "=", 3);
    expect(await counted.orderBy("id").execute()).toEqual(
      [7, 8, 9].map((n, index) => ({ update_id: ulid(n), weight: SHARES[index], delta: null })),
    );
  });
}, earlierDatabase);
