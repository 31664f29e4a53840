// POST /gateways/:gatewayId/commands: asks a connected gateway for something, whichever coordinator has its session.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { ulid } from "ulid";
import { z } from "zod";
import { gatewayId } from "../../../learning/ids.ts";
import { gatewayCommandSchema } from "../../../proto/gateway-command.ts";
import { refusalOfCommand } from "../../core/gateway-command.ts";
import type { AuditLog } from "../../ports/audit.ts";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import type { Notices } from "../../ports/notices.ts";
import { actorOf } from "../actor.ts";
import { gatewayName } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";

export interface GatewayCommandDeps {
  readonly queries: Pick<FleetQueries, "gateway">;
  readonly notices: Pick<Notices, "tell">;
  readonly audit: AuditLog;
}

export const gatewayCommandsRoute =
  ({ queries, notices, audit }: GatewayCommandDeps): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary:
        "Tells a gateway to report, to connect anew or to use another model; it may go away before it hears of it",
      params: z.strictObject({ gatewayId: gatewayName }),
      body: gatewayCommandSchema,
      response: { 202: z.object({ commandId: z.string() }), ...problems(400, 403, 404, 409, 415, 422, 503) },
    };
    app.post("/gateways/:gatewayId/commands", { schema }, async (request, reply) => {
      const gateway = gatewayId(request.params.gatewayId);
      const command = request.body;
      const known = await queries.gateway(gateway);
      if (known === null) throw new RequestError(404, `there is no gateway ${gateway}`);
      if (!known.connected) throw new RequestError(409, `gateway ${gateway} is not connected`);
      const refusal = refusalOfCommand(command, known.cohorts);
      if (refusal !== null) throw new RequestError(409, `gateway ${gateway} can't do it: ${refusal}`);
      const commandId = ulid();
      await audit.record({
        actor: actorOf(request),
        action: "gateway.command",
        subject: `gateway/${gateway}`,
        detail: { ...command, commandId },
      });
      await notices.tell({ kind: "command", gatewayId: gateway, commandId, command });
      return reply.code(202).send({ commandId });
    });
  };
