// The gateways that have a session with this coordinator right now; who has none gets the same on its next hello.
import type { GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { GatewayCommand } from "../core/gateway-command.ts";
import type { Invitation } from "../core/invitation.ts";
import type { GatewayFeedback } from "./federation-store.ts";

export interface Fleet {
  /** Tells every gateway of the cohort of its active plan, and of the champion under it. */
  planChanged(cohort: CohortState): void;
  /** Sends a champion to the gateways that hold its plan; one of the active plan to those, too, that are to fetch it. */
  promoted(cohort: CohortState): void;
  /** To each gateway its own. */
  feedback(feedback: readonly GatewayFeedback[]): void;
  /** Tells the gateways of the invitation that a round wants an update of them. */
  invite(invitation: Invitation): void;
  /** Ends the gateway's session here: it has a newer one elsewhere. */
  movedAway(gateway: GatewayId): void;
  command(gateway: GatewayId, commandId: string, command: GatewayCommand): void;
}
