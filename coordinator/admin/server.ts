// The admin side of the coordinator: REST under /api/v1, its OpenAPI at /docs and the page at /, for this machine only.
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import { type FastifyInstance, fastify } from "fastify";
import type { HostAndPort } from "../../runtime/config.ts";
import type { Logger } from "../../runtime/log.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { Problems } from "../../runtime/problems.ts";
import type { HeldOutLimits } from "../core/held-out.ts";
import { isLoopback, NotLoopbackError } from "../core/loopback.ts";
import type { AnalyticsQueries } from "../ports/analytics-queries.ts";
import type { AnalyticsStore } from "../ports/analytics-store.ts";
import type { DryRuns } from "../ports/dry-runs.ts";
import type { FleetQueries } from "../ports/fleet-queries.ts";
import type { GatewayStandings } from "../ports/gateway-standings.ts";
import type { HeldOutStreams } from "../ports/held-out-streams.ts";
import type { LiveDriftStore } from "../ports/live-drift.ts";
import type { ModelActions } from "../ports/model-actions.ts";
import type { ModelHistory } from "../ports/model-history.ts";
import type { Plans } from "../ports/plans.ts";
import { documentApi } from "./documentation.ts";
import { answerWithProblems, sendUnroutable } from "./problem.ts";
import { analyticsRoute } from "./routes/analytics.ts";
import { driftRoute } from "./routes/drift.ts";
import { dryRunRoutes } from "./routes/dry-runs.ts";
import { episodesRoute } from "./routes/episodes.ts";
import { type GatewayCommandDeps, gatewayCommandsRoute } from "./routes/gateway-commands.ts";
import { gatewayStandingRoute } from "./routes/gateway-standing.ts";
import { gatewaysRoute } from "./routes/gateways.ts";
import { healthRoute } from "./routes/health.ts";
import { heldOutRoutes } from "./routes/held-out-streams.ts";
import { modelActionRoutes } from "./routes/model-actions.ts";
import { modelHistoryRoutes } from "./routes/model-history.ts";
import { modelsRoute } from "./routes/models.ts";
import { plansRoutes } from "./routes/plans.ts";
import { replicasRoute } from "./routes/replicas.ts";
import { roundsRoute } from "./routes/rounds.ts";
import { secure } from "./security.ts";

export interface AdminSettings extends GatewayCommandDeps {
  readonly queries: FleetQueries;
  readonly analytics: AnalyticsQueries & Pick<AnalyticsStore, "analyseDay">;
  readonly history: ModelHistory;
  readonly actions: ModelActions;
  readonly plans: Plans;
  readonly dryRuns: DryRuns;
  readonly standings: Pick<GatewayStandings, "reset">;
  readonly drifts: Pick<LiveDriftStore, "list">;
  readonly heldOut: HeldOutStreams;
  readonly heldOutLimits: HeldOutLimits;
  readonly address: HostAndPort;
  readonly version: string;
  readonly log: Logger;
}

export interface Admin {
  /** Where it listens, with the port that was given for port 0. */
  readonly url: string;
  close(): Promise<void>;
}

/** Throws NotLoopbackError for an address that other machines could reach. */
export async function startAdmin(settings: AdminSettings): Promise<Admin> {
  const { host, port } = settings.address;
  if (!isLoopback(host)) throw new NotLoopbackError(host);
  const app = fastify({ logger: false, forceCloseConnections: true, frameworkErrors: sendUnroutable });
  const outages = new Problems<"database">(settings.log, Date.now);
  secure(app);
  answerWithProblems(app, settings.log, outages);
  await documentApi(app, settings.version);
  await app.register(api(settings, outages), { prefix: "/api/v1" });
  await app.register(fastifyStatic, { root: join(packageRoot, "coordinator/admin/page"), wildcard: false });
  const url = await app.listen({ host, port }).catch((cause: unknown) => {
    throw new Error(`cannot listen on ${host}:${port} for people`, { cause });
  });
  return { url, close: () => app.close() };
}

function api(settings: AdminSettings, outages: Problems<"database">) {
  const { queries, history, actions, plans, standings, analytics, notices, audit, version } = settings;
  return async (app: FastifyInstance) => {
    app.addHook("onRequest", async (_request, reply) => {
      reply.header("cache-control", "no-store");
    });
    await app.register(healthRoute(queries, version, outages));
    await app.register(replicasRoute(queries));
    await app.register(gatewaysRoute(queries));
    await app.register(gatewayCommandsRoute({ queries, notices, audit }));
    await app.register(gatewayStandingRoute(standings));
    await app.register(roundsRoute(queries));
    await app.register(modelsRoute(queries));
    await app.register(modelHistoryRoutes(history));
    await app.register(modelActionRoutes(actions));
    await app.register(heldOutRoutes(settings.heldOut, settings.heldOutLimits));
    await app.register(driftRoute(settings.drifts));
    await app.register(plansRoutes(plans, settings.dryRuns));
    await app.register(dryRunRoutes(settings.dryRuns));
    await app.register(episodesRoute(queries));
    await app.register(analyticsRoute(analytics));
  };
}
