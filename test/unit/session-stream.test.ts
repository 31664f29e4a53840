// What a session's stream holds on to: nothing of a message that was handed out.
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGrpcServer } from "../../coordinator/adapters/grpc-server.ts";
import {
  decoderOf,
  type MessageDecoder,
  oneAtATime,
  sessionDefinition,
  type Taken,
} from "../../coordinator/adapters/session/stream.ts";
import { giveUp } from "../../coordinator/adapters/session/update.ts";
import { eventually } from "../support/eventually.ts";
import { anUpdate, GatewayClient } from "../support/gateway-client.ts";

const decoders: (MessageDecoder | null)[] = [];
const taken: number[] = [];
let server: Awaited<ReturnType<typeof startGrpcServer>>;

beforeAll(async () => {
  const session = {
    definition: sessionDefinition,
    implementation: {
      session: (call: NodeJS.EventEmitter & { end(): void }) => {
        call.on("data", ({ request, next }: Taken) => {
          if (request.message?.$case === "update") taken.push(request.message.value.delta.byteLength);
          next();
        });
        call.on("end", () => call.end());
      },
    },
    interceptor: ((method, call) => {
      const outer = oneAtATime(method, call);
      decoders.push(decoderOf(outer));
      return outer;
    }) satisfies typeof oneAtATime,
  };
  server = await startGrpcServer({ host: "127.0.0.1", port: 0 }, [session], 10);
});
afterAll(() => server.close(0));

test("the pieces of a large update are let go when it is handed out, not when the gateway sends again", async () => {
  const client = new GatewayClient(`127.0.0.1:${server.address.port}`, "gw-1");
  client.say({ $case: "update", value: anUpdate("pumps", "plan", 25_000) });
  await eventually("the update is taken", () => taken[0]);
  expect(taken).toEqual([100_000]);
  expect(decoders).toHaveLength(1);
  expect(decoders[0]).toMatchObject({ readState: 0, readPartialMessage: [] });
  client.close();
});

test("of a delta that is given up, large memory of its own is freed, and memory that others share is not", () => {
  const own = new Uint8Array(100_000).subarray(40);
  giveUp(own);
  expect(own.byteLength).toBe(0);
  const shared = new Uint8Array(100_000).subarray(0, 20_000);
  giveUp(shared);
  expect(shared.byteLength).toBe(20_000);
});
