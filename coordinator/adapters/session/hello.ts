// A gateway says hello: it gets where its cohorts stand, so that a gateway that was away and a new one go the same way.
import { type GatewayId, gatewayId } from "../../../learning/ids.ts";
import type { Hello, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { within } from "../../../runtime/retry.ts";
import type { CohortState } from "../../core/cohort-state.ts";
import type { Cohorts } from "../../ports/cohorts.ts";
import type { GatewayFeedback } from "../../ports/federation-store.ts";
import type { GatewayHello, HeldCohort } from "../../ports/gateway-store.ts";
import { isOfTheData } from "../data-error.ts";
import { DATABASE_ANSWER_MS, type Gateway, type SessionDeps } from "./deps.ts";
import { bounded, heldCohorts } from "./held-cohorts.ts";
import { feedbackMessage, invitationMessage, planChanged, respond } from "./messages.ts";
import { encoded } from "./stream.ts";

export interface Greeting {
  readonly gateway: Gateway;
  /**
   * Welcome and what the gateway lacks, by the cohorts as they are at this moment: to be sent in the same turn in which
   * the session is entered among those that champions are announced to.
   */
  responses(): Standing[];
}

/** A message, and what it is the latest word on; undefined: on nothing. */
interface Standing {
  readonly message: Buffer;
  readonly subject?: string;
}

/** The database did not say where the gateway stands: it is to come back. */
export class StandingUnknownError extends Error {
  readonly retryAfterMs: number;
  constructor(retryAfterMs: number, cause: unknown) {
    super(`the database does not answer; come back in ${Math.ceil(retryAfterMs)} ms`, { cause });
    this.name = "StandingUnknownError";
    this.retryAfterMs = retryAfterMs;
  }
}

const RETRY_MS = 2_000;

type ChampionOf = (cohort: CohortState) => Buffer;

export const championSubject = ({ cohort, planId }: CohortState) => `champion of ${cohort} by ${planId}`;

/** Throws StandingUnknownError, or another error with a message for the gateway when the hello is not acceptable. */
export const greet =
  (deps: SessionDeps, championOf: ChampionOf) =>
  async (message: Hello): Promise<Greeting> => {
    const held = heldCohorts(message.cohorts);
    const hello = {
      gatewayId: gatewayId(message.gatewayId),
      site: bounded(message.site),
      agentVersion: bounded(message.agentVersion),
      cohorts: held,
    };
    const feedback = await within(DATABASE_ANSWER_MS, register(deps, hello)).catch((cause) => {
      if (isOfTheData(cause))
        throw new Error(`the database can't take what the hello says: ${cause.message}`, { cause });
      throw new StandingUnknownError(RETRY_MS * (1 + Math.random()), cause);
    });
    const known = held.filter(({ cohort }) => deps.cohorts.get(cohort) !== undefined);
    const cohorts = new Map(known.map(({ cohort, planId }) => [cohort, planId]));
    const unknown = held.map(({ cohort }) => cohort).filter((cohort) => !cohorts.has(cohort));
    return {
      gateway: { gatewayId: hello.gatewayId, cohorts },
      responses: () => [
        { message: encoded(welcome(deps, unknown)) },
        ...feedback
          .filter(({ cohort }) => cohorts.has(cohort))
          .map((entry) => ({ message: encoded(feedbackMessage(entry)) })),
        ...held.flatMap((member) => standing(hello.gatewayId, member, deps.cohorts, championOf)),
      ],
    };
  };

/** Its feedback that it has not acknowledged. */
async function register(deps: SessionDeps, hello: GatewayHello): Promise<GatewayFeedback[]> {
  const { gatewayId } = hello;
  const wasElsewhere = await deps.gateways.connected(hello);
  if (wasElsewhere) await deps.notices.tell({ kind: "session", gatewayId, replicaId: deps.replicaId });
  return deps.gateways.openFeedback(gatewayId);
}

function welcome(deps: SessionDeps, unknownCohorts: string[]): SessionResponse {
  return respond({
    $case: "welcome",
    value: { coordinatorVersion: deps.version, serverTimeMs: BigInt(Date.now()), unknownCohorts },
  });
}

/**
 * The champion is told even to a gateway that holds it: with it comes the learning-rate factor that is in force. An
 * invitation comes again in case it was not heard. One that holds the plan that is being left goes on by it, and hears of
 * the active one.
 */
function standing(gateway: GatewayId, held: HeldCohort, cohorts: Cohorts, championOf: ChampionOf): Standing[] {
  const active = cohorts.get(held.cohort);
  const own = cohorts.get(held.cohort, held.planId);
  const standings = own === undefined ? [] : championAndInvitation(gateway, own, championOf);
  if (active === undefined || active === own) return standings;
  const champion = { message: championOf(active), subject: championSubject(active) };
  return [...standings, { message: encoded(planChanged(active)) }, champion];
}

function championAndInvitation(gateway: GatewayId, cohort: CohortState, championOf: ChampionOf): Standing[] {
  const champion = { message: championOf(cohort), subject: championSubject(cohort) };
  const { invitation } = cohort;
  if (!invitation?.gateways.includes(gateway)) return [champion];
  return [champion, { message: encoded(invitationMessage(invitation, Date.now())) }];
}
