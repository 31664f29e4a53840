// A plan as a gateway holds it: checked against its hash, ready to be loaded.
import type { PlanId } from "../../learning/ids.ts";
import type { Manifest } from "../../learning/plan.ts";

export interface Plan {
  readonly planId: PlanId;
  /** The bundle that `planId` is the hash of. */
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly scoreOnnx: Uint8Array;
  readonly trainOnnx: Uint8Array;
}
