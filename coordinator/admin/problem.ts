// Errors inside become problem documents (RFC 9457) here and nowhere else.
import { STATUS_CODES } from "node:http";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Logger } from "../../runtime/log.ts";
import type { Problems } from "../../runtime/problems.ts";
import { AnalysisRunningError } from "../ports/analytics-store.ts";
import { DryRunBusyError, NotTriedError } from "../ports/dry-runs.ts";
import { FleetUnavailableError } from "../ports/fleet-queries.ts";
import { HeldOutError, type HeldOutFault } from "../ports/held-out-streams.ts";
import { ModelActionRefusedError, UnknownModelError } from "../ports/model-actions.ts";
import { UnknownPlanError, UnusablePlanError } from "../ports/plans.ts";
import { apiSchemas } from "./schemas.ts";

const CONTENT_TYPE = "application/problem+json";

const problemSchema = z
  .object({
    type: z.literal("about:blank"),
    title: z.string().describe("What the status means"),
    status: z.int(),
    detail: z.string().describe("What was wrong with this request and what is allowed"),
    instance: z.string().describe("The path that was asked for"),
    errors: z.array(z.object({ parameter: z.string(), detail: z.string() })).optional(),
  })
  .register(apiSchemas, { id: "Problem" });

type Problem = z.output<typeof problemSchema>;

/** Response schemas of the statuses a route may answer with besides 200. */
export function problems<Status extends number>(...statuses: Status[]) {
  const response = (status: Status) => ({
    description: STATUS_CODES[status] ?? "Error",
    content: { [CONTENT_TYPE]: { schema: problemSchema } },
  });
  return Object.fromEntries(statuses.map((status) => [status, response(status)])) as Record<
    Status,
    ReturnType<typeof response>
  >;
}

/** A request that gets `status` and `message` as its answer. */
export class RequestError extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.name = "RequestError";
    this.statusCode = statusCode;
  }
}

export function answerWithProblems(app: FastifyInstance, log: Logger, outages: Problems<"database">): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const found = describe(error, request);
    if (found.status === 503) outages.report("database", request.url, describeCause(error));
    else if (found.status >= 500) log.error({ err: error, path: request.url }, "an admin request failed");
    return sendProblem(request, reply, found);
  });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(request, reply, {
      status: 404,
      detail: `nothing here answers ${request.method}; /docs lists what there is`,
    }),
  );
}

/** For what fails before a request is routed, such as a path that is not valid percent-encoding. */
export function sendUnroutable(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  void sendProblem(request, reply, describe(error, request));
}

/** An error's message and that of what caused it, for the log. */
export function describeCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${describeCause(error.cause)}`;
}

type Found = Pick<Problem, "status" | "detail" | "errors">;

const HELD_OUT_STATUS: Readonly<Record<HeldOutFault, number>> = {
  unknown: 404,
  refused: 409,
  too_large: 413,
  unusable: 422,
};

function describe(error: FastifyError, request: FastifyRequest): Found {
  if (hasZodFastifySchemaValidationErrors(error)) {
    const whole = `the ${error.validationContext === "querystring" ? "query" : error.validationContext}`;
    const errors = error.validation.map(({ instancePath, message }) => ({
      parameter: instancePath.replace(/^\//, "") || whole,
      detail: message ?? "is not valid",
    }));
    const status = error.validationContext === "body" ? 422 : 400;
    return { status, detail: errors.map(({ parameter, detail }) => `${parameter}: ${detail}`).join("; "), errors };
  }
  if (error instanceof FleetUnavailableError) return { status: 503, detail: error.message };
  if (error instanceof AnalysisRunningError) return { status: 409, detail: error.message };
  if (error instanceof UnknownModelError) return { status: 404, detail: error.message };
  if (error instanceof UnknownPlanError) return { status: 404, detail: error.message };
  if (error instanceof UnusablePlanError) return { status: 422, detail: error.message };
  if (error instanceof DryRunBusyError || error instanceof NotTriedError) return { status: 409, detail: error.message };
  if (error instanceof ModelActionRefusedError) return { status: 409, detail: error.message };
  if (error instanceof HeldOutError) return { status: HELD_OUT_STATUS[error.fault], detail: error.message };
  const status = error.statusCode ?? 500;
  if (status === 415) {
    const allowed = request.routeOptions.schema?.consumes ?? ["application/json"];
    return { status, detail: `the content type must be ${allowed.join(" or ")}` };
  }
  if (status >= 400 && status < 500) return { status, detail: error.message };
  return { status: 500, detail: "the coordinator failed at this request; its log says why" };
}

function sendProblem(request: FastifyRequest, reply: FastifyReply, found: Found): FastifyReply {
  const title = STATUS_CODES[found.status] ?? "Error";
  const instance = request.url.split("?", 1)[0] ?? "/";
  const problem: Problem = { type: "about:blank", title, instance, ...found };
  return reply.code(found.status).header("cache-control", "no-store").type(CONTENT_TYPE).send(problem);
}
