// A plan as an earlier version of FLEAD left it in a database.
import { createHash } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { planId } from "../../learning/ids.ts";
import { PlanBundle } from "../../proto/gen/flead/v1/plan.ts";

/** Replaces the cohort's plan in the database by one of manifest version 1, and gives its id. */
export async function makeEarlier<Tables>(db: Kysely<Tables>, cohort: string): Promise<string> {
  const manifest = JSON.stringify({ formatVersion: 1, window: { rows: 8 } });
  const bundle = Buffer.from(
    PlanBundle.encode({
      manifestJson: Buffer.from(manifest),
      scoreOnnx: Buffer.alloc(0),
      trainOnnx: Buffer.alloc(0),
      initialWeights: Buffer.alloc(0),
    }).finish(),
  );
  const id = planId(createHash("sha256").update(bundle).digest("hex"));
  await sql`INSERT INTO plans (plan_id, manifest, bundle) VALUES (${id}, ${manifest}, ${bundle})
    ON CONFLICT DO NOTHING`.execute(db);
  await sql`DELETE FROM cohort_plans WHERE cohort = ${cohort} AND state <> 'active'`.execute(db);
  await sql`UPDATE cohort_plans SET plan_id = ${id} WHERE cohort = ${cohort}`.execute(db);
  await sql`UPDATE federated_models SET plan_id = ${id} WHERE cohort = ${cohort}`.execute(db);
  return id;
}
