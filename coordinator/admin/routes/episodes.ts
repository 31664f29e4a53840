// GET /episodes: anomalies from raised to cleared, as the gateways reported them.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { cursorOf, pageAnswer, pageQuery, pageRequest, pageSchema, timeKey } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const cursor = cursorOf(timeKey);

const contributorSchema = z.object({
  channel: z.string(),
  share: z.number().describe("Of the score, 0 to 1"),
  value: z.number(),
  expected: z.tuple([z.number(), z.number()]).describe("Low and high, in the channel's unit"),
  unit: z.string(),
});

const episodeSchema = z
  .object({
    alertId: z.string(),
    gatewayId: z.string(),
    deviceId: z.string(),
    cohort: z.string(),
    modelKind: z.string(),
    globalVersion: z.int(),
    state: z.enum(["active", "cleared"]),
    severity: z.enum(["minor", "major", "critical"]),
    score: z.number().describe("The highest so far"),
    threshold: z.number(),
    confidence: z.number(),
    contributors: z.array(contributorSchema),
    count: z.int().describe("Windows over the threshold"),
    startedAt: time,
    updatedAt: time,
    receivedAt: time,
  })
  .register(apiSchemas, { id: "Episode" });

export const episodesRoute =
  (queries: FleetQueries): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Episodes, the last received first",
      querystring: pageQuery(cursor),
      response: { 200: pageSchema(episodeSchema), ...problems(400, 503) },
    };
    app.get("/episodes", { schema }, async (request) =>
      pageAnswer(await queries.episodes(pageRequest(request.query)), cursor),
    );
  };
