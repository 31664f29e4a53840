// A gateway says hello: it gets what it lacks, so that a gateway that was away and a new one go the same way.
import { gatewayId } from "../../../learning/ids.ts";
import type { Hello, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { MAX_MESSAGE_BYTES } from "../grpc-server.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { bounded, heldCohorts } from "./held-cohorts.ts";
import { feedbackMessage, globalModel, planChanged, respond } from "./messages.ts";

export interface Welcomed {
  readonly gateway: Gateway;
  /** The cohorts of the gateway that exist here. */
  readonly cohorts: ReadonlySet<string>;
  readonly responses: readonly SessionResponse[];
}

/** Throws with a message for the gateway when the hello is not acceptable. */
export const welcome =
  (deps: SessionDeps) =>
  async (hello: Hello): Promise<Welcomed> => {
    const gateway = { gatewayId: gatewayId(hello.gatewayId) };
    const held = heldCohorts(hello.cohorts);
    await deps.gateways.connected({
      gatewayId: gateway.gatewayId,
      site: bounded(hello.site),
      agentVersion: bounded(hello.agentVersion),
      cohorts: held,
    });
    const known = held.flatMap((member) => {
      const cohort = deps.cohorts.get(member.cohort);
      return cohort === undefined ? [] : [{ member, cohort }];
    });
    const cohorts = new Set(known.map(({ cohort }) => cohort.cohort as string));
    const lacking = known.flatMap(({ member, cohort }) => {
      if (member.planId !== cohort.planId) return [planChanged(cohort), globalModel(cohort)];
      return member.globalVersion === cohort.champion.version ? [] : [globalModel(cohort)];
    });
    const feedback = (await deps.gateways.openFeedback(gateway.gatewayId)).filter(({ cohort }) => cohorts.has(cohort));
    return {
      gateway,
      cohorts,
      responses: [
        respond({
          $case: "welcome",
          value: {
            coordinatorVersion: deps.version,
            serverTimeMs: BigInt(Date.now()),
            maxMessageBytes: MAX_MESSAGE_BYTES,
            unknownCohorts: held.flatMap((member) => (cohorts.has(member.cohort) ? [] : [member.cohort])),
          },
        }),
        ...lacking,
        ...feedback.map(feedbackMessage),
      ],
    };
  };
