// GET /health: whether the coordinator and its database answer, and where each cohort's loop stands.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Problems } from "../../../runtime/problems.ts";
import { pause } from "../../../runtime/retry.ts";
import { type CohortOverview, type FleetQueries, FleetUnavailableError } from "../../ports/fleet-queries.ts";
import { describeCause } from "../problem.ts";
import { apiSchemas, pinSchema, time } from "../schemas.ts";

const DATABASE_TIMEOUT_MS = 2_000;

const cohortSchema = z
  .object({
    cohort: z.string(),
    planId: z.string(),
    championVersion: z.int(),
    leaving: z
      .object({
        planId: z.string(),
        championVersion: z.int(),
        leaveBy: time.describe("Then it is left, whoever still holds it"),
        gateways: z.int().describe("Seen in the last day, holding it by their last word"),
      })
      .nullable()
      .describe("The plan that the cohort is leaving; null: none"),
    learningRateFactor: z.number().describe("Of the plan's learning rate, in force"),
    pin: pinSchema.nullable().describe("While there is one, no candidate takes the champion's place"),
    openRound: z.object({
      updates: z.int().describe("That wait for the round to close"),
      updatesWanted: z.int(),
      gateways: z.int(),
      gatewaysWanted: z.int(),
      openedAt: time.nullable(),
    }),
    updates: z.object({
      acknowledged: z.int().describe("Durable and answered, over the cohort's life"),
      aggregated: z.int().describe("Counted by a closed round"),
      refused: z.int().describe("Well-formed, but refused and kept with the reason"),
    }),
  })
  .register(apiSchemas, { id: "CohortOverview" });

const healthSchema = z
  .object({
    status: z.enum(["ok", "degraded"]),
    version: z.string(),
    database: z.enum(["up", "down"]),
    cohorts: z.array(cohortSchema),
  })
  .register(apiSchemas, { id: "Health" });

export const healthRoute =
  (queries: FleetQueries, version: string, outages: Problems<"database">): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Health and where each cohort stands",
      response: { 200: healthSchema, 503: healthSchema },
    };
    app.get("/health", { schema }, async (_request, reply) => {
      const cohorts = await within(DATABASE_TIMEOUT_MS, queries.cohorts()).catch((error: unknown) => {
        outages.report("database", "/api/v1/health", describeCause(error));
        return null;
      });
      if (cohorts) return { status: "ok" as const, version, database: "up" as const, cohorts };
      return reply.code(503).send({ status: "degraded", version, database: "down", cohorts: [] });
    });
  };

async function within(limitMs: number, cohorts: Promise<CohortOverview[]>): Promise<CohortOverview[]> {
  const done = new AbortController();
  const limit = pause(limitMs, done.signal).then(() => {
    throw new FleetUnavailableError(new Error(`no answer within ${limitMs} ms`));
  });
  return Promise.race([cohorts, limit]).finally(() => done.abort());
}
