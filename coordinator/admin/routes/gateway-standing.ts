// POST /gateways/:gatewayId/standing/reset: an operator lets a gateway's voice count whole again.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId, gatewayId } from "../../../learning/ids.ts";
import type { GatewayStandings } from "../../ports/gateway-standings.ts";
import { actorOf } from "../actor.ts";
import { cohortName, gatewayName } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";

export const gatewayStandingRoute =
  (standings: Pick<GatewayStandings, "reset">): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "The gateway's voice counts whole again in the cohort's rounds",
      params: z.strictObject({ gatewayId: gatewayName }),
      body: z.strictObject({ cohort: cohortName }),
      response: { 200: z.object({ standing: z.number() }), ...problems(400, 403, 404, 415, 422, 503) },
    };
    app.post("/gateways/:gatewayId/standing/reset", { schema }, async (request) => {
      const gateway = gatewayId(request.params.gatewayId);
      const cohort = cohortId(request.body.cohort);
      const known = await standings.reset(cohort, gateway, actorOf(request));
      if (!known) throw new RequestError(404, `there is no gateway ${gateway}, or no cohort ${cohort}`);
      return { standing: 1 };
    });
  };
