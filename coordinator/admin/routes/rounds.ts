// GET /rounds and /rounds/:roundId: what came of each round: verdict, reason, and the candidate's scores beside the champion's and the baselines'.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { cursorOf, pageAnswer, pageQuery, pageRequest, pageSchema } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, baselinesSchema, fleetSchema, scoresSchema, time } from "../schemas.ts";

const cursor = cursorOf(z.strictObject({ roundId: z.int().min(0) }));

export const roundSchema = z
  .object({
    roundId: z.int(),
    cohort: z.string(),
    baseVersion: z.int().describe("The champion the candidate was made from"),
    globalVersion: z.int().describe("The candidate"),
    rule: z.string(),
    verdict: z.enum(["promoted", "rejected", "candidate"]),
    reason: z.string(),
    updates: z.int(),
    gateways: z.int(),
    samples: z.int(),
    heldOut: scoresSchema.nullable().describe("The candidate's; null: not evaluated"),
    championHeldOut: scoresSchema.nullable().describe("The champion's, on the same windows"),
    baselines: baselinesSchema.nullable(),
    fleet: fleetSchema,
    learningRateFactor: z.number().describe("In force after the round"),
    openedAt: time,
    closedAt: time,
  })
  .register(apiSchemas, { id: "Round" });

const measuredRoundSchema = z
  .object({
    ...roundSchema.shape,
    streams: z
      .array(
        z.object({
          stream: z.string().describe("live/<device>: the last closed windows of a live stream"),
          sha256: z.string().describe("Of what it was measured on"),
          scores: scoresSchema,
          champion: scoresSchema.nullable(),
          baselines: baselinesSchema.nullable(),
        }),
      )
      .readonly()
      .describe("By name; pooled they are heldOut, championHeldOut and baselines"),
  })
  .register(apiSchemas, { id: "MeasuredRound" });

export const roundsRoute =
  (queries: FleetQueries): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Rounds, the newest first",
      querystring: pageQuery(cursor),
      response: { 200: pageSchema(roundSchema), ...problems(400, 503) },
    };
    app.get("/rounds", { schema }, async (request) =>
      pageAnswer(await queries.rounds(pageRequest(request.query)), cursor),
    );

    const one = {
      summary: "One round, with what it measured on each held-out stream",
      params: z.strictObject({ roundId: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER) }),
      response: { 200: measuredRoundSchema, ...problems(400, 404, 503) },
    };
    app.get("/rounds/:roundId", { schema: one }, async ({ params: { roundId } }) => {
      const round = await queries.round(roundId);
      if (round === null) throw new RequestError(404, `there is no round ${roundId}`);
      return round;
    });
  };
