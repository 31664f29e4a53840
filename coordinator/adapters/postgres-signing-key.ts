// The key that the plans of a database are signed with: one, whichever coordinator signs, until an operator changes it.
import { type Kysely, sql } from "kysely";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

class ForeignKeyError extends Error {
  constructor(planKey: string, inForce: string) {
    super(
      `plans of this database are signed with the key ${inForce}, but this coordinator has ${planKey}, whose plans gateways would refuse: give it the same file (--signing-key, FLEAD_SIGNING_KEY_FILE), or change the key on purpose by FLEAD_PLAN_KEY_BEFORE=${inForce}`,
    );
    this.name = "ForeignKeyError";
  }
}

/**
 * Puts the key in force where there is none yet, or in the place of `before`, with its audit row. Throws ForeignKeyError
 * where another one is in force.
 */
export async function useSigningKey(db: Kysely<Tables>, planKey: string, before: string | undefined): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE`.execute(trx); // two may come first at once
    const known = await trx.selectFrom("signing_keys").select("plan_key").where("until", "is", null).executeTakeFirst();
    if (known?.plan_key === planKey) return;
    if (known !== undefined && known.plan_key !== before) throw new ForeignKeyError(planKey, known.plan_key);
    await trx.updateTable("signing_keys").set({ until: sql<Date>`now()` }).where("until", "is", null).execute();
    await trx
      .insertInto("signing_keys")
      .values({ plan_key: planKey })
      .onConflict((conflict) => conflict.column("plan_key").doUpdateSet({ since: sql<Date>`now()`, until: null }))
      .execute();
    if (known === undefined) return;
    await postgresAuditLog(trx).record({
      actor: "coordinator",
      action: "signing_key.change",
      subject: `signing-key/${planKey}`,
      detail: { before: known.plan_key },
    });
  });
}
