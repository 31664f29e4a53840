// A plan as a gateway holds it: checked against its hash, ready to be loaded.
import type { PlanId } from "../../learning/ids.ts";
import type { Manifest, PlanGraphs } from "../../learning/plan.ts";

export interface Plan extends PlanGraphs {
  readonly planId: PlanId;
  /** The bundle that `planId` is the hash of. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}
