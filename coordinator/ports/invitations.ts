// The synchronous rounds that are open, and the gateways that can be invited to one.
import type { CohortId, GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { Invitation, ReadyGateway } from "../core/invitation.ts";

/** Changes are durable before they resolve; they throw RoundConflictError, changing nothing, when `before` is no longer so. */
export interface Invitations {
  /** As it is now, whichever replica made it. */
  open(cohort: CohortId): Promise<Invitation | null>;
  /** At most 10,000: connected to any replica, holding the cohort's plan, with no update that waits for a round. */
  ready(cohort: CohortState): Promise<ReadyGateway[]>;
  /** In place of the cohort's invitation, until the deadline of its settings; with a round's number of its own. */
  invite(before: CohortState, gateways: readonly GatewayId[], wanted: number): Promise<Invitation>;
  /** The cohort's invitation is over; nothing is in its place. */
  end(before: CohortState): Promise<void>;
}
