// POST /plans/:planId/dry-run tries a plan on a cohort's held-out streams; GET /plans/:planId/dry-runs/:dryRunId shows what came of it.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId, planId } from "../../../learning/ids.ts";
import type { DryRuns } from "../../ports/dry-runs.ts";
import { actorOf } from "../actor.ts";
import { cohortName, planParams } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, baselinesSchema, scoresSchema, time } from "../schemas.ts";

const measured = scoresSchema.nullable().describe("null: not evaluated");

const figuresSchema = z.object({
  version: z.int().nullable().describe("null: the plan's initial weights"),
  trained: z.boolean().describe("false: initial weights, whose scores are those of an untrained model"),
  scores: measured.describe("All streams pooled; null: not evaluated"),
});

export const dryRunSchema = z
  .object({
    dryRunId: z.int(),
    planId: z.string(),
    cohort: z.string(),
    set: z.string().nullable().describe("The frozen streams; null: there were none, and nothing was evaluated"),
    passed: z.boolean(),
    failures: z
      .array(
        z.object({
          fault: z.enum(["missing_channel", "unusable_stream", "graph", "not_finite", "no_threshold", "out_of_time"]),
          stream: z.string().nullable(),
          detail: z.string(),
        }),
      )
      .readonly(),
    begin: figuresSchema.describe("What the cohort would begin with under the plan"),
    carried: figuresSchema
      .nullable()
      .describe("The champion's weights under the plan; null: another layout, or no trained champion of another plan"),
    champion: z
      .object({ planId: z.string(), ...figuresSchema.shape })
      .nullable()
      .describe("Under its own plan, whose heads may be longer or shorter; null: there is none"),
    baselines: baselinesSchema.nullable(),
    actor: z.string(),
    createdAt: time,
  })
  .register(apiSchemas, { id: "DryRun" });

const measuredSchema = z
  .object({
    ...dryRunSchema.shape,
    streams: z
      .array(
        z.object({
          stream: z.string(),
          sha256: z.string(),
          begin: measured,
          carried: measured,
          champion: measured,
          baselines: baselinesSchema.nullable(),
        }),
      )
      .readonly(),
  })
  .register(apiSchemas, { id: "MeasuredDryRun" });

export const dryRunRoutes =
  (dryRuns: Pick<DryRuns, "run" | "one">): FastifyPluginAsyncZod =>
  async (app) => {
    const run = {
      summary: "Tries the plan on a cohort's held-out streams; the cohort goes on as it does",
      params: planParams,
      body: z.strictObject({ cohort: cohortName }),
      response: { 200: measuredSchema, ...problems(400, 403, 404, 409, 415, 422, 503) },
    };
    app.post("/plans/:planId/dry-run", { schema: run }, async (request, reply) => {
      const gone = new AbortController();
      reply.raw.once("close", () => gone.abort(new Error("whoever asked does not wait for the answer")));
      const order = {
        cohort: cohortId(request.body.cohort),
        planId: planId(request.params.planId),
        actor: actorOf(request),
      };
      return dryRuns.run(order, gone.signal);
    });

    const one = {
      summary: "What came of a dry run, stream by stream",
      params: planParams.extend({ dryRunId: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) }),
      response: { 200: measuredSchema, ...problems(400, 404, 503) },
    };
    app.get("/plans/:planId/dry-runs/:dryRunId", { schema: one }, async ({ params }) => {
      const found = await dryRuns.one(planId(params.planId), params.dryRunId);
      if (found === null)
        throw new RequestError(404, `plan ${params.planId} has no dry run ${params.dryRunId} any more`);
      return found;
    });
  };
