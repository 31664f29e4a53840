// What every answer of the admin API carries, and which requests get none: a page of another origin can neither frame
// it, read it, write to it, nor reach it through a name that it points at this machine (DNS rebinding).
import type { FastifyInstance } from "fastify";
import { hostOf, isLoopback } from "../core/loopback.ts";
import { RequestError } from "./problem.ts";

const HEADERS = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

function contentPolicy(styles: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src ${styles}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

const PAGE_POLICY = contentPolicy("'self'");
const READING: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** Swagger UI styles an element of its own inline. */
const DOCS_POLICY = contentPolicy("'self' 'unsafe-inline'");

export function secure(app: FastifyInstance): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.headers(HEADERS);
    reply.header("content-security-policy", request.url.startsWith("/docs/") ? DOCS_POLICY : PAGE_POLICY);
    const { host: named = "", origin } = request.headers;
    const host = hostOf(named);
    if (host === null || !isLoopback(host)) {
      throw new RequestError(
        421,
        "this server answers to localhost, 127.0.0.1 and [::1] only; the Host header names another",
      );
    }
    if (origin !== undefined && !READING.has(request.method) && origin !== `http://${named}`) {
      throw new RequestError(403, `a page of ${origin} may not change anything here`);
    }
  });
  // A form of another origin can send text, and JSON only after a preflight request that nobody here answers.
  app.removeContentTypeParser("text/plain");
}
