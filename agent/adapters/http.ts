// `/healthz` and `/metrics` of the agent over HTTP, for who stands beside it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { PROMETHEUS_TYPE } from "../../runtime/prometheus.ts";
import type { OperationView } from "../ports/operation.ts";

const MAX_CONNECTIONS = 16;
const REQUEST_MS = 5_000;

/** Not listening yet. Answers nothing but GET and HEAD of the two paths, and reads no body. */
export function operationServer(view: OperationView): Server {
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) =>
    answer(view, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

function answer(view: OperationView, { method, url }: IncomingMessage, response: ServerResponse): void {
  const say = (status: number, type: string, text: string) =>
    response.writeHead(status, { "content-type": type, "cache-control": "no-store", connection: "close" }).end(text);
  if (method !== "GET" && method !== "HEAD") return void say(405, "text/plain", "GET or HEAD only\n");
  const path = url?.split("?", 1)[0];
  if (path === "/metrics") return void say(200, PROMETHEUS_TYPE, view.metrics());
  if (path !== "/healthz") return void say(404, "text/plain", "/healthz or /metrics\n");
  const ailments = view.ailments();
  const status = ailments.length === 0 ? "healthy" : "unhealthy";
  say(ailments.length === 0 ? 200 : 503, "application/json", `${JSON.stringify({ status, ailments })}\n`);
}
