// POST /gateways/:gatewayId/commands: asks a connected gateway for something, whichever coordinator has its session.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { ulid } from "ulid";
import { z } from "zod";
import { gatewayId } from "../../../learning/ids.ts";
import type { AuditLog } from "../../ports/audit.ts";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { GATEWAY_ACTIONS, type Notices } from "../../ports/notices.ts";
import { actorOf } from "../actor.ts";
import { gatewayName } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";

export interface GatewayCommandDeps {
  readonly queries: Pick<FleetQueries, "gatewayPresence">;
  readonly notices: Pick<Notices, "tell">;
  readonly audit: AuditLog;
}

export const gatewayCommandsRoute =
  ({ queries, notices, audit }: GatewayCommandDeps): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Tells a gateway to report, or to connect anew; it may go away before it hears of it",
      params: z.strictObject({ gatewayId: gatewayName }),
      body: z.strictObject({ action: z.enum(GATEWAY_ACTIONS) }),
      response: { 202: z.object({ commandId: z.string() }), ...problems(400, 403, 404, 409, 415, 422, 503) },
    };
    app.post("/gateways/:gatewayId/commands", { schema }, async (request, reply) => {
      const gateway = gatewayId(request.params.gatewayId);
      const { action } = request.body;
      const presence = await queries.gatewayPresence(gateway);
      if (presence === "unknown") throw new RequestError(404, `there is no gateway ${gateway}`);
      if (presence === "offline") throw new RequestError(409, `gateway ${gateway} is not connected`);
      const commandId = ulid();
      await audit.record({
        actor: actorOf(request),
        action: "gateway.command",
        subject: `gateway/${gateway}`,
        detail: { action, commandId },
      });
      await notices.tell({ kind: "command", gatewayId: gateway, commandId, action });
      return reply.code(202).send({ commandId });
    });
  };
