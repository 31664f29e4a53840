// The audit log in PostgreSQL; given a transaction, an entry stands or falls with it.
import type { Kysely } from "kysely";
import type { Audit } from "../ports/audit.ts";
import type { Tables } from "./tables.ts";

export function postgresAudit(db: Kysely<Tables>): Audit {
  return {
    record: async ({ actor, action, subject, detail }) => {
      await db
        .insertInto("audit_log")
        .values({ actor, action, subject, detail: JSON.stringify(detail) })
        .execute();
    },
  };
}
