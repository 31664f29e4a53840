// A gateway says hello: it gets where its cohorts stand, so that a gateway that was away and a new one go the same way.
import { type GatewayId, gatewayId } from "../../../learning/ids.ts";
import type { Hello, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import type { CohortState } from "../../core/cohort-state.ts";
import type { HeldCohort } from "../../ports/gateway-store.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { bounded, heldCohorts } from "./held-cohorts.ts";
import { feedbackMessage, globalModel, invitationMessage, planChanged, respond } from "./messages.ts";

export interface Greeting {
  readonly gateway: Gateway;
  /**
   * Welcome and what the gateway lacks, by the cohorts as they are at this moment: to be sent in the same turn in which
   * the session is entered among those that champions are announced to.
   */
  responses(): SessionResponse[];
}

/** Throws with a message for the gateway when the hello is not acceptable. */
export const greet =
  (deps: SessionDeps) =>
  async (hello: Hello): Promise<Greeting> => {
    const id = gatewayId(hello.gatewayId);
    const held = heldCohorts(hello.cohorts);
    const wasElsewhere = await deps.gateways.connected({
      gatewayId: id,
      site: bounded(hello.site),
      agentVersion: bounded(hello.agentVersion),
      cohorts: held,
    });
    if (wasElsewhere) await deps.notices.tell({ kind: "session", gatewayId: id, replicaId: deps.replicaId });
    const feedback = await deps.gateways.openFeedback(id);
    const cohorts = new Set(held.map(({ cohort }) => cohort).filter((cohort) => deps.cohorts.get(cohort)));
    return {
      gateway: { gatewayId: id, cohorts },
      responses: () => [
        welcome(
          deps,
          held.map(({ cohort }) => cohort).filter((cohort) => !cohorts.has(cohort)),
        ),
        ...feedback.filter(({ cohort }) => cohorts.has(cohort)).map(feedbackMessage),
        ...held.flatMap((member) => whatItLacks(id, member, deps.cohorts.get(member.cohort))),
      ],
    };
  };

function welcome(deps: SessionDeps, unknownCohorts: string[]): SessionResponse {
  return respond({
    $case: "welcome",
    value: { coordinatorVersion: deps.version, serverTimeMs: BigInt(Date.now()), unknownCohorts },
  });
}

/**
 * The champion is told even to a gateway that holds it: with it comes the learning-rate factor that is in force. An
 * invitation comes again in case it was not heard.
 */
function whatItLacks(gateway: GatewayId, member: HeldCohort, cohort: CohortState | undefined): SessionResponse[] {
  if (cohort === undefined) return [];
  if (member.planId !== cohort.planId) return [planChanged(cohort), globalModel(cohort)];
  const { invitation } = cohort;
  const invited = invitation?.gateways.includes(gateway) ? [invitationMessage(invitation, Date.now())] : [];
  return [globalModel(cohort), ...invited];
}
