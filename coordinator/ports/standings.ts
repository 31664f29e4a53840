// What gateways' voices count for in the rounds of a cohort.
import type { CohortId, GatewayId } from "../../learning/ids.ts";
import type { Standing } from "../core/standing.ts";

export interface Standings {
  /** Of those of `gateways` that ever had another than the full one; a round's record changes them. */
  of(cohort: CohortId, gateways: readonly string[]): Promise<ReadonlyMap<string, Standing>>;
  /** Back to the full one, in the audit log if it was another. False: there is no such gateway. Throws FleetUnavailableError. */
  reset(cohort: CohortId, gateway: GatewayId, actor: string): Promise<boolean>;
}
