// What a coordinator does because of the others: it follows cohorts as they move and carries what is for its gateways.
import { cohortId, gatewayId } from "../learning/ids.ts";
import type { Logger } from "../runtime/log.ts";
import { pause } from "../runtime/retry.ts";
import type { CohortDirectory, Move } from "./cohort-directory.ts";
import type { Fleet } from "./ports/fleet.ts";
import type { GatewayStore } from "./ports/gateway-store.ts";
import type { Notice, Notices } from "./ports/notices.ts";

/** A notice that was lost is made up for by then. */
const LOOK_EVERY_MS = 5_000;

export interface ReplicaDeps {
  readonly replicaId: string;
  readonly notices: Notices;
  readonly directory: CohortDirectory;
  readonly gateways: Pick<GatewayStore, "showReplica" | "feedbackSince">;
  readonly fleet: Fleet;
  /** Looks at the cohort's round, if this coordinator leads. */
  readonly checkRound: (cohort: string) => void;
  readonly log: Logger;
}

/** Until `signal` aborts; never rejects. What a database that is away leaves undone is done when it is back. */
export async function runReplica(deps: ReplicaDeps, signal: AbortSignal): Promise<void> {
  await Promise.all([followNotices(deps, signal), lookNowAndThen(deps, signal)]);
}

async function followNotices(deps: ReplicaDeps, signal: AbortSignal): Promise<void> {
  for await (const notice of deps.notices.heard(signal)) {
    await follow(deps, notice).catch((error: Error) =>
      deps.log.warn({ err: error, notice }, "what another coordinator told could not be followed yet"),
    );
  }
}

async function follow(deps: ReplicaDeps, notice: Notice | "resync"): Promise<void> {
  if (notice === "resync") return lookAtAll(deps);
  switch (notice.kind) {
    case "cohort": {
      const move = await deps.directory.refresh(cohortId(notice.cohort));
      return move === null ? undefined : announce(deps, move);
    }
    case "updates":
      return deps.checkRound(notice.cohort);
    case "session":
      return notice.replicaId === deps.replicaId ? undefined : deps.fleet.movedAway(gatewayId(notice.gatewayId));
    case "command":
      return deps.fleet.command(gatewayId(notice.gatewayId), notice.commandId, notice.command);
  }
}

async function lookNowAndThen(deps: ReplicaDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(LOOK_EVERY_MS, signal);
    if (signal.aborted) return;
    await Promise.all([deps.gateways.showReplica(), lookAtAll(deps)]).catch((error: Error) =>
      deps.log.warn({ err: error }, "the database did not answer; it is asked again"),
    );
  }
}

async function lookAtAll(deps: ReplicaDeps): Promise<void> {
  for (const move of await deps.directory.refreshAll()) await announce(deps, move);
}

async function announce(deps: ReplicaDeps, { before, after }: Move): Promise<void> {
  const [active] = after;
  if (active === undefined) return;
  deps.checkRound(active.cohort);
  const [activeBefore] = before;
  if (activeBefore === undefined) return; // whoever holds it hears of it on its hello
  const feedback = await deps.gateways.feedbackSince(active.cohort, activeBefore.lastVersion);
  for (const state of after) {
    const known = before.find(({ planId }) => planId === state.planId);
    if (state.state === "active" && activeBefore.planId !== state.planId) deps.fleet.planChanged(state);
    else if (known?.champion.version !== state.champion.version) deps.fleet.promoted(state);
  }
  deps.fleet.feedback(feedback);
  for (const { planId, invitation } of after) {
    const known = before.find((state) => state.planId === planId)?.invitation;
    // After the champion that they are to train from.
    if (invitation !== null && invitation.roundId !== known?.roundId) deps.fleet.invite(invitation);
  }
}
