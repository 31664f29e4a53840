// What gateways' voices count for in the rounds of a cohort.

import type { CohortId, GatewayId } from "../../learning/ids.ts";
import type { GatewayStanding } from "../core/gateway-standing.ts";

export interface GatewayStandings {
  /** Of those of `gateways` that ever had another than the full one; a round's record changes them. */
  of(cohort: CohortId, gateways: readonly string[]): Promise<ReadonlyMap<string, GatewayStanding>>;
  /**
   * Back to the full one, in the audit log if it was another. False: there is no such gateway or cohort.
   * Throws FleetUnavailableError.
   */
  reset(cohort: CohortId, gateway: GatewayId, actor: string): Promise<boolean>;
}
