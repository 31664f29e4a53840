// /held-out-streams: labelled streams that candidates are measured on: uploaded as CSV, frozen, retired.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { cohortId, deviceId } from "../../../learning/ids.ts";
import type { HeldOutLimits } from "../../core/held-out.ts";
import type { HeldOutStreams } from "../../ports/held-out-streams.ts";
import { actorOf } from "../actor.ts";
import { cohortName, cursorOf, deviceName, pageAnswer, pageQuery, pageRequest, pageSchema } from "../paging.ts";
import { problems } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const name = z.string().max(128);
const cursor = cursorOf(z.strictObject({ cohort: name, name, sha256: name }));

const heldOutSchema = z
  .object({
    cohort: z.string(),
    name: z.string(),
    sha256: z.string().describe("Of the CSV as it was given"),
    state: z.enum(["draft", "frozen", "retired"]).describe("Evaluated on are frozen ones, which never change"),
    source: z.enum(["folder", "upload"]),
    rows: z.int(),
    anomalies: z.int().describe("Rows labelled 1"),
    bytes: z.int(),
    createdAt: time,
    frozenAt: time.nullable(),
    retiredAt: time.nullable(),
  })
  .register(apiSchemas, { id: "HeldOutStream" });

export const heldOutRoutes =
  (streams: HeldOutStreams, limits: HeldOutLimits): FastifyPluginAsyncZod =>
  async (app) => {
    app.addContentTypeParser("text/csv", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    const params = z.strictObject({ cohort: cohortName, name: deviceName });
    const changed = { 200: heldOutSchema, ...problems(400, 403, 404, 409, 503) };

    const upload = {
      summary: "A draft from a labelled CSV; what is wrong with it is said by line and column",
      querystring: params,
      consumes: ["text/csv"],
      body: z.instanceof(Uint8Array, { error: "must be a CSV, sent as text/csv" }).meta({ type: "string" }),
      response: { 201: heldOutSchema, ...problems(400, 403, 404, 409, 413, 415, 422, 503) },
    };
    app.post("/held-out-streams", { schema: upload, bodyLimit: limits.bytesAStream }, async (request, reply) => {
      const { cohort, name } = request.query;
      return reply
        .code(201)
        .send(await streams.upload(cohortId(cohort), deviceId(name), request.body, actorOf(request)));
    });

    const list = {
      summary: "Held-out streams, every revision, by cohort and name",
      querystring: pageQuery(cursor),
      response: { 200: pageSchema(heldOutSchema), ...problems(400, 503) },
    };
    app.get("/held-out-streams", { schema: list }, async (request) =>
      pageAnswer(await streams.list(pageRequest(request.query)), cursor),
    );

    const one = {
      summary: "One held-out stream",
      params,
      response: { 200: heldOutSchema, ...problems(400, 404, 503) },
    };
    app.get("/held-out-streams/:cohort/:name", { schema: one }, async ({ params: { cohort, name } }) =>
      streams.one(cohortId(cohort), deviceId(name)),
    );

    const freeze = { summary: "Rounds evaluate on it from now on, and it never changes", params, response: changed };
    app.post("/held-out-streams/:cohort/:name/freeze", { schema: freeze }, async (request) => {
      const { cohort, name } = request.params;
      return streams.freeze(cohortId(cohort), deviceId(name), actorOf(request));
    });

    const retire = { summary: "Rounds no longer evaluate on it; its row stays", params, response: changed };
    app.delete("/held-out-streams/:cohort/:name", { schema: retire }, async (request) => {
      const { cohort, name } = request.params;
      return streams.retire(cohortId(cohort), deviceId(name), actorOf(request));
    });
  };
