// The audit log in PostgreSQL.
import { type Kysely, sql } from "kysely";
import type { AuditLog } from "../ports/audit.ts";
import type { Tables } from "./tables.ts";

const MAX_NAME_CHARACTERS = 256;

/** Over a transaction, an entry is kept if and only if what it tells of is. */
export function postgresAuditLog(db: Kysely<Tables>): AuditLog {
  return {
    record: async ({ detail = {}, ...names }) => {
      const [actor, action, subject] = [names.actor, names.action, names.subject].map((name) =>
        name.slice(0, MAX_NAME_CHARACTERS),
      );
      await sql`
        INSERT INTO audit_log (actor, action, subject, detail)
        SELECT ${actor}, ${action}, ${subject},
               CASE WHEN bytes <= 16384 THEN said ELSE jsonb_build_object('omittedBytes', bytes) END
        FROM CAST(${JSON.stringify(detail)} AS jsonb) AS said, octet_length(said::text) AS bytes`.execute(db);
    },
  };
}
