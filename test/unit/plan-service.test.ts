// Plans over real gRPC, from a store that the test counts the questions of.
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startGrpcServer } from "../../coordinator/adapters/grpc-server.ts";
import { planService } from "../../coordinator/adapters/plan-service.ts";
import type { ProblemKind } from "../../coordinator/adapters/session/deps.ts";
import type { PlanSigner } from "../../coordinator/adapters/signing-key.ts";
import { GetPlanRequest } from "../../proto/gen/flead/v1/plan.ts";
import { Problems } from "../../runtime/problems.ts";
import { fetchPlan } from "../support/gateway-client.ts";

const idOf = (n: number) => n.toString(16).padStart(64, "0");
const BUNDLE_BYTES = 2 * 1024 * 1024;
const asked: string[] = [];
const warned: string[] = [];
let address: string;
let server: Awaited<ReturnType<typeof startGrpcServer>>;

beforeAll(async () => {
  const signer: PlanSigner = { sign: () => Buffer.alloc(64), planKey: "key" };
  const log = { warn: (_: object, text: string) => void warned.push(text) };
  const problems = new Problems<ProblemKind>(log, Date.now);
  const planBundle = async (id: string) => {
    asked.push(id);
    return id === idOf(0) ? null : Buffer.alloc(BUNDLE_BYTES);
  };
  const services = [planService({ store: { planBundle }, problems, signer, readMs: 2_000 })];
  server = await startGrpcServer({ host: "127.0.0.1", port: 0 }, services, 50);
  address = `127.0.0.1:${server.address.port}`;
});
afterAll(() => server.close(0));
beforeEach(() => {
  asked.length = 0;
});

test("a plan that many ask for is read once, and each gets all of it", async () => {
  const bundles = await Promise.all(Array.from({ length: 6 }, () => fetchPlan(address, idOf(1))));
  for (const bundle of bundles) expect(bundle.byteLength).toBe(BUNDLE_BYTES);
  expect(asked).toEqual([idOf(1)]);
});

test("a few plans are held, and what is not there is asked for again", async () => {
  for (const n of [1, 2, 3, 4, 5, 5, 1]) await fetchPlan(address, idOf(n));
  expect(asked).toEqual([2, 3, 4, 5, 1].map(idOf));
  asked.length = 0;
  for (let again = 0; again < 2; again++) await expect(fetchPlan(address, idOf(0))).rejects.toThrow("there is no plan");
  expect(asked).toEqual([idOf(0), idOf(0)]);
});

test("who does not read a plan is not waited for", async () => {
  const session = connectHttp2(`http://${address}`, {
    settings: { initialWindowSize: 0 }, // the coordinator may not send a byte of it
  });
  session.on("error", () => undefined);
  const closed = once(session, "close");
  const stream = session.request({
    ":method": "POST",
    ":path": "/flead.v1.PlanService/GetPlan",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => undefined);
  const request = GetPlanRequest.encode({ planId: idOf(1) }).finish();
  const head = Buffer.alloc(5); // not compressed, and the length
  head.writeUInt32BE(request.byteLength, 1);
  stream.end(Buffer.concat([head, request]));
  await closed;
  expect(warned.join()).toContain("it took no part of plan");
});
