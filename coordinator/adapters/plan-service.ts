// Plans by content: a bundle in chunks and its signature, by the SHA-256 that a gateway was told.
import { type ServerWritableStream, status } from "@grpc/grpc-js";
import { InvalidIdError, type PlanId, planId } from "../../learning/ids.ts";
import { type GetPlanRequest, type GetPlanResponse, PlanServiceService } from "../../proto/gen/flead/v1/plan.ts";
import { within } from "../../runtime/retry.ts";
import type { Service } from "./grpc-server.ts";
import type { SessionDeps } from "./session/deps.ts";
import type { PlanSigner } from "./signing-key.ts";

const CHUNK_BYTES = 64 * 1024;
const UNSIGNED = { signature: Buffer.alloc(0), publicKey: "" };
/** Of plans that many gateways ask for at a time, after an activation: each is read once and held once. */
const PLANS_AT_HAND = 4;
/** A gateway that takes no chunk for so long is not waited for any more. */
const READ_MS = 30_000;

export interface PlanServiceDeps extends Pick<SessionDeps, "problems"> {
  readonly store: Pick<SessionDeps["store"], "planBundle">;
  readonly signer: PlanSigner;
  readonly readMs?: number;
}

export function planService(deps: PlanServiceDeps): Service {
  const { readMs = READ_MS } = deps;
  const bundleOf = atHand(PLANS_AT_HAND, (id: PlanId) => deps.store.planBundle(id));
  const getPlan = async (call: ServerWritableStream<GetPlanRequest, GetPlanResponse>) => {
    const id = planId(call.request.planId);
    const bundle = await bundleOf(id);
    if (bundle === null) {
      call.emit("error", { code: status.NOT_FOUND, details: `there is no plan ${call.request.planId}` });
      return;
    }
    for (let offset = 0; offset < bundle.byteLength; offset += CHUNK_BYTES) {
      const chunk = Buffer.from(bundle.subarray(offset, offset + CHUNK_BYTES));
      const signed = offset === 0 ? { signature: deps.signer.sign(id), publicKey: deps.signer.planKey } : UNSIGNED;
      const more = call.write({ offset: BigInt(offset), totalBytes: BigInt(bundle.byteLength), chunk, ...signed });
      if (!more && !call.cancelled && !(await drained(call, readMs))) {
        deps.problems.report("slow_reader", call.getPeer(), `it took no part of plan ${id} for ${readMs} ms`);
        call.destroy();
      }
      if (call.cancelled || call.destroyed) return;
    }
    call.end();
  };
  return {
    definition: PlanServiceService,
    implementation: {
      getPlan: (call: ServerWritableStream<GetPlanRequest, GetPlanResponse>) => {
        getPlan(call).catch((error: Error) => {
          deps.problems.report("plan_request", call.getPeer(), error.message);
          const code = error instanceof InvalidIdError ? status.INVALID_ARGUMENT : status.UNAVAILABLE;
          call.emit("error", { code, details: error.message });
        });
      },
    },
  };
}

/** True also when the call is over. */
function drained(call: ServerWritableStream<GetPlanRequest, GetPlanResponse>, withinMs: number): Promise<boolean> {
  return within(withinMs, new Promise<void>((resolve) => call.once("drain", resolve).once("close", resolve))).then(
    () => true,
    () => false,
  );
}

/** The last `most` that were found, and those that are being read; what is not there is asked for again. */
function atHand<Key, Value>(most: number, read: (key: Key) => Promise<Value | null>) {
  const known = new Map<Key, Promise<Value | null>>();
  return (key: Key): Promise<Value | null> => {
    const found = known.get(key) ?? read(key);
    known.delete(key); // the newest is last
    known.set(key, found);
    const forget = () => {
      if (known.get(key) === found) known.delete(key);
    };
    found.then((value) => value === null && forget(), forget);
    for (const [oldest] of known) {
      if (known.size <= most) break;
      known.delete(oldest);
    }
    return found;
  };
}
