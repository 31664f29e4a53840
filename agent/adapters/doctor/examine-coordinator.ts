// Whether the coordinator answers: it is asked for a plan, since a session of its own would end the running agent's.
import { status } from "@grpc/grpc-js";
import { type PlanId, planId } from "../../../learning/ids.ts";
import { type Finding, fail, ok, warn } from "../../core/finding.ts";
import { type Address, GrpcLink } from "../grpc-link.ts";

const PATIENCE_MS = 5_000;
/** The plan of no coordinator. */
const NO_PLAN = planId("0".repeat(64));
const AWAY: readonly unknown[] = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED];

/** `held`: a plan that the gateway has; null: none. */
export async function examineCoordinator(address: Address, held: PlanId | null): Promise<Finding> {
  const where = `${address.host}:${address.port}`;
  const link = new GrpcLink([address], Date.now, () => 0);
  try {
    const { signedBy } = await link.fetchPlan(held ?? NO_PLAN, AbortSignal.timeout(PATIENCE_MS));
    return ok("coordinator", `${where} answers, and has the plan held, ${signedBy ? "signed" : "not signed"}`);
  } catch (error) {
    const { code, message } = error as Error & { readonly code?: number };
    if (code === undefined || AWAY.includes(code)) {
      const advice = "alerts go on without it; is it running, and does a firewall let the port through?";
      return fail("coordinator", `${where} does not answer: ${message}`, advice);
    }
    if (held === null) return ok("coordinator", `${where} answers`);
    const advice = "has the cohort another plan now? The agent is told with its next session";
    return warn("coordinator", `${where} answers, but does not give the plan held: ${message}`, advice);
  } finally {
    link.close();
  }
}
