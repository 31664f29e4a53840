// A plan as a gateway holds it: checked against its hash, ready to be loaded.
import type { PlanId } from "../../learning/ids.ts";
import type { Manifest, PlanGraphs } from "../../learning/plan.ts";

export interface Plan extends PlanGraphs {
  readonly planId: PlanId;
  /** The bundle that `planId` is the hash of. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

export interface FetchedPlan extends Plan {
  /** The public key that its signature was checked with; null: it has no signature. */
  readonly signedBy: string | null;
}
