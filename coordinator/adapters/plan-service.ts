// Plans by content: a bundle in chunks, by the SHA-256 that a gateway was told.
import { type ServerWritableStream, status } from "@grpc/grpc-js";
import { InvalidIdError, planId } from "../../learning/ids.ts";
import { type GetPlanRequest, type GetPlanResponse, PlanServiceService } from "../../proto/gen/flead/v1/plan.ts";
import type { Service } from "./grpc-server.ts";
import type { SessionDeps } from "./session/deps.ts";

const CHUNK_BYTES = 64 * 1024;

export function planService(deps: Pick<SessionDeps, "store" | "problems">): Service {
  const getPlan = async (call: ServerWritableStream<GetPlanRequest, GetPlanResponse>) => {
    const bundle = await deps.store.planBundle(planId(call.request.planId));
    if (bundle === null) {
      call.emit("error", { code: status.NOT_FOUND, details: `there is no plan ${call.request.planId}` });
      return;
    }
    for (let offset = 0; offset < bundle.byteLength; offset += CHUNK_BYTES) {
      const chunk = Buffer.from(bundle.subarray(offset, offset + CHUNK_BYTES));
      const more = call.write({ offset: BigInt(offset), totalBytes: BigInt(bundle.byteLength), chunk });
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
