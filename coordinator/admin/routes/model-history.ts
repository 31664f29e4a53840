// GET /models/:cohort/:version and below: one version, what it was made from, how it was measured, and its weights.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId } from "../../../learning/ids.ts";
import { decodeBundle, PlanBundleError, scoreModel } from "../../../proto/plan-bundle.ts";
import type { ModelFile, ModelHistory } from "../../ports/model-history.ts";
import { cursorOf, pageAnswer, pageSchema, plainPageQuery, versionParams } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";
import { modelSchema } from "./models.ts";
import { roundSchema } from "./rounds.ts";

const parentCursor = cursorOf(z.strictObject({ globalVersion: z.int().min(1) }));
const rowCursor = cursorOf(z.strictObject({ stream: z.string().max(256), rowIndex: z.int().min(0) }));

const part = z.enum(["counted", "clipped", "excluded"]).nullable().describe("By the rule; null: not known");
const share = z.number().describe("In what was combined");

const lineageSchema = z
  .object({
    model: modelSchema,
    round: roundSchema.nullable().describe("That made the weights; null: the plan's initial ones"),
    contributions: z
      .array(
        z.object({
          updateId: z.string(),
          gatewayId: z.string(),
          baseVersion: z.int(),
          samples: z.int(),
          stalenessWeight: z.number().nullable().describe("What the age of its base left of its weight"),
          share,
          part,
        }),
      )
      .readonly()
      .nullable()
      .describe("One an update; null: not known"),
    gateways: z
      .array(z.object({ gatewayId: z.string(), updates: z.int(), samples: z.int(), share, part }))
      .readonly()
      .nullable(),
    streams: z
      .array(z.object({ stream: z.string(), n: z.int(), tp: z.int(), fp: z.int(), tn: z.int(), fn: z.int() }))
      .readonly()
      .nullable()
      .describe("Of each held-out stream; null: the evaluated rows are not stored"),
    parents: pageSchema(modelSchema).describe("The champions it came from, back to the first"),
  })
  .register(apiSchemas, { id: "Lineage" });

const evaluationSchema = z
  .object({
    stream: z.string(),
    rowIndex: z.int(),
    prediction: z.int(),
    actual: z.int(),
    correct: z.boolean(),
    score: z.number(),
    threshold: z.number(),
    confidence: z.number(),
    evaluatedAt: time,
  })
  .register(apiSchemas, { id: "Evaluation" });

export const modelHistoryRoutes =
  (history: ModelHistory): FastifyPluginAsyncZod =>
  async (app) => {
    const params = versionParams;

    const one = { summary: "One version", params, response: { 200: modelSchema, ...problems(400, 404, 503) } };
    app.get("/models/:cohort/:version", { schema: one }, async ({ params: { cohort, version } }) =>
      history.model(cohortId(cohort), version),
    );

    const lineage = {
      summary: "What a version was made from; pages are of its parents, the newest first",
      params,
      querystring: plainPageQuery(parentCursor),
      response: { 200: lineageSchema, ...problems(400, 404, 503) },
    };
    app.get("/models/:cohort/:version/lineage", { schema: lineage }, async ({ params: { cohort, version }, query }) => {
      const page = { limit: query.limit, after: query.cursor ?? null };
      const found = await history.lineage(cohortId(cohort), version, page);
      return { ...found, parents: pageAnswer(found.parents, parentCursor) };
    });

    const evaluations = {
      summary: "The held-out rows that a version was evaluated on, stream by stream",
      params,
      querystring: plainPageQuery(rowCursor),
      response: { 200: pageSchema(evaluationSchema), ...problems(400, 404, 503) },
    };
    app.get("/models/:cohort/:version/evaluations", { schema: evaluations }, async ({ params: of, query }) => {
      const page = { limit: query.limit, after: query.cursor ?? null };
      return pageAnswer(await history.evaluations(cohortId(of.cohort), of.version, page), rowCursor);
    });

    const onnx = {
      summary: "A version's score graph with its weights in it: feature rows [N,F] give score [N]",
      params,
      response: {
        200: z.custom<Buffer>().meta({ type: "string", format: "binary" }),
        ...problems(400, 404, 409, 410, 503),
      },
    };
    app.get("/models/:cohort/:version/model.onnx", { schema: onnx }, async ({ params: of }, reply) => {
      const file = await history.file(cohortId(of.cohort), of.version);
      if (file === null) throw new RequestError(410, "its weights were dropped from the archive");
      return reply
        .type("application/octet-stream")
        .header("content-disposition", `attachment; filename="${of.cohort}-v${of.version}.onnx"`)
        .send(Buffer.from(onnxOf(file)));
    });
  };

function onnxOf({ planId, bundle, weights }: ModelFile): Uint8Array {
  try {
    return scoreModel(decodeBundle(bundle, planId), weights);
  } catch (error) {
    if (error instanceof PlanBundleError) throw new RequestError(409, "its plan is of another version of FLEAD");
    throw error;
  }
}
