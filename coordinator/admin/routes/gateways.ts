// GET /gateways, /gateways/:gatewayId: who is there, what each holds and what its agent counted.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { gatewayId } from "../../../learning/ids.ts";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { cursorOf, gatewayName, pageAnswer, pageQuery, pageRequest, pageSchema, timeKey } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const cursor = cursorOf(timeKey);
const count = z.number().nullable();

const trialSchema = z
  .object({
    rows: z.int().describe("Normal ones that both models scored"),
    ratio: z.number().nullable().describe("Median of its error to the active model's"),
    difference: z.number().nullable().describe("Median rise of probabilities or isolation scores"),
    labelledRows: z.int(),
    labelledDifference: z.number().nullable().describe("Rise of the mean error on labelled rows"),
  })
  .register(apiSchemas, { id: "Trial" });

const candidateSchema = z.object({
  globalVersion: z.number(),
  trial: trialSchema.nullable().describe("In which it did clearly worse; null: an operator rolled back from it"),
});

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
        candidate: candidateSchema.nullable().describe("The champion, where the gateway does not use it"),
        previousVersion: z.number().nullable().describe("That it can be rolled back to"),
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

    const oneSchema = {
      summary: "One gateway",
      params: z.strictObject({ gatewayId: gatewayName }),
      response: { 200: gatewaySchema, ...problems(400, 404, 503) },
    };
    app.get("/gateways/:gatewayId", { schema: oneSchema }, async (request) => {
      const gateway = await queries.gateway(gatewayId(request.params.gatewayId));
      if (gateway === null) throw new RequestError(404, `there is no gateway ${request.params.gatewayId}`);
      return gateway;
    });
  };
