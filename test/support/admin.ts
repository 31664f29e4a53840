// The admin API over a database of a test's own, with no other coordinator to tell anything.
import type { Database } from "../../coordinator/adapters/database.ts";
import { postgresAuditLog } from "../../coordinator/adapters/postgres-audit.ts";
import { postgresDryRuns } from "../../coordinator/adapters/postgres-dry-runs.ts";
import { postgresFederationStore } from "../../coordinator/adapters/postgres-federation-store.ts";
import { postgresGatewayStandings } from "../../coordinator/adapters/postgres-gateway-standings.ts";
import { postgresHeldOutStreams } from "../../coordinator/adapters/postgres-held-out-streams.ts";
import { postgresLiveDrift } from "../../coordinator/adapters/postgres-live-drift.ts";
import { postgresModelActions } from "../../coordinator/adapters/postgres-model-actions.ts";
import { postgresModelHistory } from "../../coordinator/adapters/postgres-model-history.ts";
import { postgresNotices } from "../../coordinator/adapters/postgres-notices.ts";
import { postgresPlans } from "../../coordinator/adapters/postgres-plans.ts";
import { postgresQueries } from "../../coordinator/adapters/postgres-queries.ts";
import { type Admin, type AdminSettings, startAdmin } from "../../coordinator/admin/server.ts";
import { createLogger } from "../../runtime/log.ts";
import { analyticsOf } from "./analytics.ts";
import { HELD_OUT_LIMITS } from "./held-out.ts";
import { roomyIntake } from "./roomy-intake.ts";

export function adminOver(database: Database, change: Partial<AdminSettings> = {}): Promise<Admin> {
  const log = createLogger("test", "silent");
  const { kysely } = database;
  const heldOut = postgresHeldOutStreams(kysely, { limits: HELD_OUT_LIMITS, manifestOf: () => undefined });
  const dryRuns = postgresDryRuns(kysely, heldOut, 60_000);
  return startAdmin({
    queries: postgresQueries(kysely),
    history: postgresModelHistory(kysely),
    actions: postgresModelActions(kysely),
    plans: postgresPlans(kysely, postgresFederationStore(kysely, roomyIntake(database)), dryRuns),
    dryRuns,
    standings: postgresGatewayStandings(kysely),
    analytics: analyticsOf(kysely),
    heldOut,
    heldOutLimits: HELD_OUT_LIMITS,
    drifts: postgresLiveDrift(kysely),
    audit: postgresAuditLog(kysely),
    notices: postgresNotices(database, log),
    address: { host: "127.0.0.1", port: 0 },
    version: "1.2.3",
    log,
    ...change,
  });
}
