// GET /models: every version that was ever made, promoted or not.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { cursorOf, pageAnswer, pageQuery, pageRequest, pageSchema } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, fleetSchema, time } from "../schemas.ts";

const cursor = cursorOf(
  z.strictObject({ atUs: z.int().min(0), cohort: z.string().max(128), globalVersion: z.int().min(0) }),
);

export const modelSchema = z
  .object({
    cohort: z.string(),
    globalVersion: z.int(),
    parentVersion: z.int().nullable().describe("The champion it was made from, or whose place it took"),
    originVersion: z.int().nullable().describe("Of an operator's version, whose weights it has; null: its own"),
    planId: z.string(),
    roundId: z.int().nullable().describe("null: the plan's initial weights, or an operator's version"),
    status: z.enum(["candidate", "champion", "rejected", "rolled_back", "pinned"]),
    rule: z.string(),
    devices: z.int(),
    gateways: z.int(),
    samples: z.int(),
    accuracy: z.number().nullable().describe("On the held-out streams; null: not evaluated"),
    loss: z.number().nullable(),
    fleet: fleetSchema,
    weights: z.enum(["at_hand", "archived", "dropped"]),
    actor: z.string().nullable().describe("The operator who made it; null: a round, or the plan"),
    reason: z.string().nullable().describe("The operator's, or the round's; null: the plan's initial weights"),
    createdAt: time,
  })
  .register(apiSchemas, { id: "Model" });

export const modelsRoute =
  (queries: FleetQueries): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Model versions, the newest first",
      querystring: pageQuery(cursor),
      response: { 200: pageSchema(modelSchema), ...problems(400, 503) },
    };
    app.get("/models", { schema }, async (request) =>
      pageAnswer(await queries.models(pageRequest(request.query)), cursor),
    );
  };
