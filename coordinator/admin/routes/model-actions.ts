// What an operator does with versions: POST /models/:cohort/:version/promote and roll-back, /cohorts/:cohort/pin and unpin.
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId } from "../../../learning/ids.ts";
import type { ModelAction } from "../../core/model-actions.ts";
import type { ModelActions } from "../../ports/model-actions.ts";
import { actorOf } from "../actor.ts";
import { cohortName, versionParams } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, pinSchema } from "../schemas.ts";

const orderSchema = z.strictObject({
  reason: z.string().trim().min(1, "say why").max(500),
  champion: z.int().min(1).optional().describe("Only if this version is the champion"),
});
type Order = z.output<typeof orderSchema>;

const standingSchema = z
  .object({ cohort: z.string(), championVersion: z.int(), pin: pinSchema.nullable() })
  .register(apiSchemas, { id: "Standing" });

export const modelActionRoutes =
  (actions: ModelActions): FastifyPluginAsyncZod =>
  async (app) => {
    const act = (request: FastifyRequest, cohort: string, action: ModelAction, { reason, champion }: Order) =>
      actions.act({
        cohort: cohortId(cohort),
        action,
        actor: actorOf(request),
        reason,
        expectedChampion: champion ?? null,
      });
    const schema = {
      body: orderSchema,
      response: { 200: standingSchema, ...problems(400, 403, 404, 409, 415, 422, 503) },
    };
    const change = (kind: "promote" | "roll_back", path: string, summary: string) =>
      app.post(
        `/models/:cohort/:version/${path}`,
        { schema: { ...schema, summary, params: versionParams } },
        async (request) => {
          const { cohort, version } = request.params;
          return act(request, cohort, { kind, version }, request.body);
        },
      );
    const pin = (kind: "pin" | "unpin", summary: string) =>
      app.post(
        `/cohorts/:cohort/${kind}`,
        { schema: { ...schema, summary, params: z.strictObject({ cohort: cohortName }) } },
        async (request) => act(request, request.params.cohort, { kind }, request.body),
      );

    change("promote", "promote", "Makes a new champion with the weights of a candidate or rejected version");
    change("roll_back", "roll-back", "Makes a new champion with the weights of an earlier one");
    pin("pin", "Keeps the champion, whatever rounds bring");
    pin("unpin", "Lets rounds replace the champion again");
  };
