// The synchronous rounds that are open, and the gateways that can be invited to one.
import type { GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { Invitation, ReadyGateway } from "../core/invitation.ts";

/**
 * A change is durable before it resolves with the cohort after it, and every coordinator hears that the cohort moved; it
 * throws RoundConflictError, changing nothing, when the cohort has another revision by now.
 */
export interface Invitations {
  /** As it is now, whoever made it. */
  open(cohort: Pick<CohortState, "cohort" | "planId">): Promise<Invitation | null>;
  /** At most 10,000: connected to any replica, holding the cohort's plan, with no update that waits for a round. */
  ready(cohort: CohortState): Promise<ReadyGateway[]>;
  /** In place of the invitation of the cohort's plan, until the deadline of its settings; with a round's number of its own. */
  invite(before: CohortState, gateways: readonly GatewayId[], wanted: number): Promise<CohortState>;
  /** The invitation of the cohort's plan is over; nothing is in its place. */
  end(before: CohortState): Promise<CohortState>;
}
