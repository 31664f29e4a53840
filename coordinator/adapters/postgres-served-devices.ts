// Which devices gateways serve, by what they said of themselves last.
import { type Kysely, sql } from "kysely";
import type { ServedDevices, ServedStream } from "../ports/served-devices.ts";
import { postgresAuditLog } from "./postgres-audit.ts";
import type { Tables } from "./tables.ts";

const MAX_TOLD_AT_ONCE = 100;
const ACTION = "held_out.served";

export function postgresServedDevices(db: Kysely<Tables>): ServedDevices {
  return {
    newlyServed: () =>
      db.transaction().execute(async (trx) => {
        const { rows } = await sql<ServedStream>`
          WITH streams (cohort, device) AS (
            SELECT cohort, stream FROM held_out_streams WHERE state = 'frozen'
            UNION
            SELECT cohort, live ->> 'device' FROM cohort_plans, jsonb_array_elements(federation -> 'live') AS live
            WHERE state = 'active'
          )
          SELECT s.cohort, s.device, g.gateway_id AS "gatewayId"
          FROM gateways g, jsonb_array_elements(g.cohorts) AS held
               JOIN streams s ON s.cohort = held ->> 'cohort' AND held -> 'devices' ? s.device
          WHERE NOT EXISTS (SELECT FROM audit_log a WHERE a.action = ${ACTION} AND a.subject =
                            format('cohort/%s/held-out/%s/gateway/%s', s.cohort, s.device, g.gateway_id))
          ORDER BY 1, 2, 3 LIMIT ${MAX_TOLD_AT_ONCE}`.execute(trx);
        for (const { cohort, device, gatewayId } of rows) {
          const subject = `cohort/${cohort}/held-out/${device}/gateway/${gatewayId}`;
          await postgresAuditLog(trx).record({ actor: "coordinator", action: ACTION, subject });
        }
        return rows;
      }),

    isServed: async (cohort, device) => {
      const held = JSON.stringify([{ cohort, devices: [device] }]);
      const { rows } = await sql<{ served: boolean }>`
        SELECT EXISTS (SELECT FROM gateways WHERE cohorts @> ${held}::jsonb) AS served`.execute(db);
      return rows[0]?.served ?? false;
    },
  };
}
