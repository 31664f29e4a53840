// Plans by content: a bundle in chunks and its signature, by the SHA-256 that a gateway was told.
import { type ServerWritableStream, status } from "@grpc/grpc-js";
import { InvalidIdError, planId } from "../../learning/ids.ts";
import { type GetPlanRequest, type GetPlanResponse, PlanServiceService } from "../../proto/gen/flead/v1/plan.ts";
import type { Service } from "./grpc-server.ts";
import type { SessionDeps } from "./session/deps.ts";
import type { PlanSigner } from "./signing-key.ts";

const CHUNK_BYTES = 64 * 1024;
const UNSIGNED = { signature: Buffer.alloc(0), publicKey: "" };

export function planService(deps: Pick<SessionDeps, "store" | "problems"> & { readonly signer: PlanSigner }): Service {
  const getPlan = async (call: ServerWritableStream<GetPlanRequest, GetPlanResponse>) => {
    const id = planId(call.request.planId);
    const bundle = await deps.store.planBundle(id);
    if (bundle === null) {
      call.emit("error", { code: status.NOT_FOUND, details: `there is no plan ${call.request.planId}` });
      return;
    }
    for (let offset = 0; offset < bundle.byteLength; offset += CHUNK_BYTES) {
      const chunk = Buffer.from(bundle.subarray(offset, offset + CHUNK_BYTES));
      const signed = offset === 0 ? { signature: deps.signer.sign(id), publicKey: deps.signer.planKey } : UNSIGNED;
      const more = call.write({ offset: BigInt(offset), totalBytes: BigInt(bundle.byteLength), chunk, ...signed });
      if (!more && !call.cancelled) await new Promise((resolve) => call.once("drain", resolve).once("close", resolve));
      if (call.cancelled) return;
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
