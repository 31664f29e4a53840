// POST /gateways/:gatewayId/standing/reset: an operator lets a gateway's voice count whole again.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId, gatewayId, InvalidIdError } from "../../../learning/ids.ts";
import type { Standings } from "../../ports/standings.ts";
import { cohortName } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";

/** Nobody logs in yet: who reaches this address is one of the operators. */
const ACTOR = "operator";

const gatewayName = z.string().refine((text) => {
  try {
    return gatewayId(text) === text;
  } catch (error) {
    if (error instanceof InvalidIdError) return false;
    throw error;
  }
}, "must be a gateway's id: 1 to 64 letters, digits, '_', '.' or '-'");

export const standingRoute =
  (standings: Pick<Standings, "reset">): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "The gateway's voice counts whole again in the cohort's rounds",
      params: z.strictObject({ gatewayId: gatewayName }),
      body: z.strictObject({ cohort: cohortName }),
      response: { 200: z.object({ standing: z.number() }), ...problems(400, 404, 503) },
    };
    app.post("/gateways/:gatewayId/standing/reset", { schema }, async ({ params, body }) => {
      const known = await standings.reset(cohortId(body.cohort), gatewayId(params.gatewayId), ACTOR);
      if (!known) throw new RequestError(404, `there is no gateway ${params.gatewayId}`);
      return { standing: 1 };
    });
  };
