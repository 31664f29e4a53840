// The audit log in PostgreSQL; over a transaction its entries become durable with what they speak of.
import type { Kysely } from "kysely";
import type { Audit } from "../ports/audit.ts";
import type { Tables } from "./tables.ts";

export function postgresAudit(db: Kysely<Tables>): Audit {
  return {
    record: async ({ detail, ...entry }) => {
      await db
        .insertInto("audit_log")
        .values({ ...entry, detail: JSON.stringify(detail) })
        .execute();
    },
  };
}
