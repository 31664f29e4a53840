// GET /gateways: who is there, what each holds and what its agent counted.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { cursorOf, pageAnswer, pageQuery, pageRequest, pageSchema, timeKey } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const cursor = cursorOf(timeKey);
const count = z.number().nullable();

const gatewaySchema = z
  .object({
    gatewayId: z.string(),
    site: z.string(),
    agentVersion: z.string(),
    connected: z.boolean().describe("Has a session with the coordinator"),
    lastSeenAt: time,
    createdAt: time,
    cohorts: z.array(
      z.object({
        cohort: z.string(),
        planId: z.string().nullable(),
        globalVersion: z.number().nullable(),
        devices: z.array(z.string()),
        standing: z.number().describe("What its voice counts for in the cohort's rounds, 0.1 to 1"),
        standingReason: z.string().nullable().describe("Why it is, or was lately, below 1; null: nothing lowered it"),
        standingChangedAt: time.nullable().describe("null: never"),
      }),
    ),
    health: z
      .object({
        rows: count,
        rowsRefused: count,
        updatesTrained: count,
        samplesTrained: count,
        outboxBytes: count,
        outboxDropped: count,
        rssBytes: count,
        windowsDropped: count,
        clock: z
          .string()
          .nullable()
          .describe("unsynchronised, stepped (within the last hour) or synced; null: the agent does not say"),
        quarantinedFiles: count.describe("Damaged databases of the agent that were set aside"),
        storeBytes: count,
        flashWrittenToday: count.describe("Bytes since midnight UTC; null: its machine does not say"),
        carriedToday: count.describe("Bytes to and from the coordinator since midnight UTC"),
        summariesWithheld: z.boolean().nullable().describe("They wait for the next day's budget"),
        updatesWithheld: z.boolean().nullable(),
      })
      .nullable()
      .describe("As last reported; null: nothing was reported yet"),
  })
  .register(apiSchemas, { id: "Gateway" });

export const gatewaysRoute =
  (queries: FleetQueries): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Gateways, the newest first",
      querystring: pageQuery(cursor),
      response: { 200: pageSchema(gatewaySchema), ...problems(400, 503) },
    };
    app.get("/gateways", { schema }, async (request) =>
      pageAnswer(await queries.gateways(pageRequest(request.query)), cursor),
    );
  };
