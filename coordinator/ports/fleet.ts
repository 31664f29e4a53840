// The gateways that have a session with this coordinator right now; who has none gets the same on its next hello.
import type { GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { Invitation } from "../core/invitation.ts";
import type { GatewayFeedback } from "./federation-store.ts";
import type { GatewayAction } from "./notices.ts";

export interface Fleet {
  /** Sends a promoted champion to every gateway of the cohort, and to each gateway its own feedback. */
  announce(cohort: CohortState, promoted: boolean, feedback: readonly GatewayFeedback[]): void;
  /** Tells the gateways of the invitation that a round wants an update of them. */
  invite(invitation: Invitation): void;
  /** Ends the gateway's session here: it has a newer one elsewhere. */
  movedAway(gateway: GatewayId): void;
  command(gateway: GatewayId, commandId: string, action: GatewayAction): void;
}
