// A gateway says hello: it gets what it lacks, so that a gateway that was away and a new one go the same way.
import { gatewayId } from "../../../learning/ids.ts";
import type { Hello, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { MAX_MESSAGE_BYTES } from "../grpc-server.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { feedbackMessage, globalModel, planChanged, respond } from "./messages.ts";

const MAX_COHORTS = 64;
const MAX_DEVICES_A_COHORT = 2_000;
const MAX_TEXT_CHARACTERS = 64;

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
    if (hello.cohorts.length > MAX_COHORTS)
      throw new Error(`${hello.cohorts.length} cohorts; allowed are ${MAX_COHORTS}`);
    const held = hello.cohorts.map(({ cohort, planId, globalVersion, devices }) => ({
      cohort: cohort.slice(0, MAX_TEXT_CHARACTERS),
      planId,
      globalVersion: Number(globalVersion),
      devices: devices.slice(0, MAX_DEVICES_A_COHORT).map((device) => device.slice(0, MAX_TEXT_CHARACTERS)),
    }));
    await deps.gateways.connected({
      gatewayId: gateway.gatewayId,
      site: hello.site.slice(0, MAX_TEXT_CHARACTERS),
      agentVersion: hello.agentVersion.slice(0, MAX_TEXT_CHARACTERS),
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
