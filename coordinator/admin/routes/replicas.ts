// GET /replicas: the coordinators over this database, and which of them leads.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import type { FleetQueries } from "../../ports/fleet-queries.ts";
import { problems } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const replicaSchema = z
  .object({
    replicaId: z.string(),
    version: z.string(),
    leads: z.boolean().describe("Runs the rounds"),
    gateways: z.int().describe("With a session there"),
    startedAt: time,
    lastSeenAt: time,
  })
  .register(apiSchemas, { id: "Replica" });

export const replicasRoute =
  (queries: Pick<FleetQueries, "replicas">): FastifyPluginAsyncZod =>
  async (app) => {
    const schema = {
      summary: "Coordinators, the oldest first",
      response: { 200: z.object({ items: z.array(replicaSchema) }), ...problems(503) },
    };
    app.get("/replicas", { schema }, async () => ({ items: await queries.replicas() }));
  };
