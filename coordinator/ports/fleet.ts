// The gateways that are connected right now; who is not gets the same on its next hello.
import type { GatewayId } from "../../learning/ids.ts";
import type { CohortState } from "../core/cohort-state.ts";
import type { Invitation } from "../core/invitation.ts";
import type { GatewayFeedback } from "./federation-store.ts";

export interface Fleet {
  /** Sends a promoted champion to every connected gateway of the cohort, and to each gateway its own feedback. */
  announce(cohort: CohortState, promoted: boolean, feedback: readonly GatewayFeedback[]): void;
  /** Tells those of `gateways` that are connected that the round wants an update of them. */
  invite(invitation: Invitation, gateways: readonly GatewayId[]): void;
}
