// Plans: POST /plans takes a cohort's plan file, GET /plans and /plans/:planId show them, POST /cohorts/:cohort/activate
// makes a cohort learn by one.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId, planId } from "../../../learning/ids.ts";
import type { FederationSettings, Manifest } from "../../../learning/plan.ts";
import type { DryRuns } from "../../ports/dry-runs.ts";
import { LEAVE_AFTER_MS } from "../../ports/federation-store.ts";
import type { Plans } from "../../ports/plans.ts";
import { actorOf } from "../actor.ts";
import { cohortName, cursorOf, pageAnswer, pageSchema, plainPageQuery, planParams, timeKey } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";
import { dryRunSchema } from "./dry-runs.ts";

const MAX_FILE_BYTES = 256 * 1024;
const MAX_LEAVE_AFTER_MS = 365 * 86_400_000;
const YAML = "application/yaml";

const cursor = cursorOf(timeKey);

const uploadedSchema = z
  .object({
    planId: z.string(),
    cohort: z.string().describe("As its file names it; nothing has changed for it yet"),
    federation: z.looseObject({}).describe("As in its file, with the defaults: to be activated with it"),
    bundleBytes: z.int(),
  })
  .register(apiSchemas, { id: "UploadedPlan" });

const planSchema = z
  .object({
    planId: z.string(),
    model: z.string(),
    channels: z.array(z.string()).readonly(),
    bundleBytes: z.int(),
    createdAt: time,
    cohorts: z
      .array(
        z.object({
          cohort: z.string(),
          state: z.enum(["active", "leaving", "left"]),
          championVersion: z.int(),
          federation: z.custom<FederationSettings>().meta({ type: "object", description: "As a plan file says it" }),
          activatedAt: time,
          leaveBy: time.nullable().describe("null: it is not being left"),
          gateways: z.int().describe("Seen in the last day, holding it by their last word"),
        }),
      )
      .readonly(),
  })
  .register(apiSchemas, { id: "Plan" });

const planDetailSchema = z
  .object({
    ...planSchema.shape,
    manifest: z
      .custom<Manifest>()
      .meta({ type: "object", description: "Its settings as a plan file says them, and what they come to" }),
    dryRuns: z.array(dryRunSchema).readonly().describe("The last 20 of each cohort, the newest first"),
  })
  .register(apiSchemas, { id: "PlanDetail" });

const orderSchema = z.strictObject({
  planId: planParams.shape.planId,
  federation: z.looseObject({}).optional().describe("As in a plan file; left out: the cohort's stay as they are"),
  leaveAfterMs: z
    .int()
    .min(0)
    .max(MAX_LEAVE_AFTER_MS)
    .default(LEAVE_AFTER_MS)
    .describe("How long gateways may hold the plan before"),
  force: z.boolean().default(false).describe("Without a passed dry run, too; the audit log says so"),
  reason: z.string().trim().min(1, "say why").max(500),
});

const activatedSchema = z
  .object({
    cohort: z.string(),
    planId: z.string(),
    championVersion: z.int(),
    leaving: z.string().nullable().describe("The plan that the cohort leaves; null: none"),
  })
  .register(apiSchemas, { id: "ActivatedPlan" });

export const plansRoutes =
  (plans: Plans, dryRuns: Pick<DryRuns, "ofPlan">): FastifyPluginAsyncZod =>
  async (app) => {
    // As JSON does, it comes from another origin only after a preflight request that nobody here answers.
    app.addContentTypeParser(YAML, { parseAs: "string", bodyLimit: MAX_FILE_BYTES }, (_request, body, done) =>
      done(null, body),
    );

    const upload = {
      summary: "Compiles a cohort's plan file and keeps the plan; the cohort goes on as it does",
      consumes: [YAML],
      body: z.string({ error: `must be a plan file, sent as ${YAML}` }),
      response: { 201: uploadedSchema, ...problems(400, 403, 413, 415, 422, 503) },
    };
    app.post("/plans", { schema: upload }, async (request, reply) => {
      const uploaded = await plans.upload(request.body, actorOf(request));
      return reply.code(201).send({ ...uploaded, federation: { ...uploaded.federation } });
    });

    const list = {
      summary: "Plans, the newest first",
      querystring: plainPageQuery(cursor),
      response: { 200: pageSchema(planSchema), ...problems(400, 503) },
    };
    app.get("/plans", { schema: list }, async ({ query }) =>
      pageAnswer(await plans.list({ limit: query.limit, after: query.cursor ?? null }), cursor),
    );

    const one = {
      summary: "A plan, its dry runs, and the cohorts that learn by it, leave it or have left it",
      params: planParams,
      response: { 200: planDetailSchema, ...problems(400, 404, 503) },
    };
    app.get("/plans/:planId", { schema: one }, async ({ params }) => {
      const id = planId(params.planId);
      const found = await plans.get(id);
      if (found === null) throw new RequestError(404, `there is no plan ${id}`);
      return { ...found, dryRuns: await dryRuns.ofPlan(id) };
    });

    const activate = {
      summary: "The cohort learns by the plan; the one before lives on until its gateways have moved",
      params: z.strictObject({ cohort: cohortName }),
      body: orderSchema,
      response: { 200: activatedSchema, ...problems(400, 403, 404, 409, 415, 422, 503) },
    };
    app.post("/cohorts/:cohort/activate", { schema: activate }, async (request) => {
      const { planId: plan, federation, ...order } = request.body;
      const cohort = cohortId(request.params.cohort);
      return plans.activate({ ...order, cohort, planId: planId(plan), federation, actor: actorOf(request) });
    });
  };
