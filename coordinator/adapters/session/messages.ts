// What the coordinator says to a gateway, from its own values to the wire.
import type { Command, Feedback, SessionResponse } from "../../../proto/gen/flead/v1/federation.ts";
import { encodeWeights } from "../../../proto/weights.ts";
import type { CohortState } from "../../core/cohort-state.ts";
import type { GatewayCommand } from "../../core/gateway-command.ts";
import type { Invitation } from "../../core/invitation.ts";
import type { GatewayFeedback } from "../../ports/federation-store.ts";

const RECONNECT_AFTER_MS = 1_000;

type Message = NonNullable<SessionResponse["message"]>;

export const respond = (message: Message): SessionResponse => ({ message });

export function globalModel(cohort: CohortState): SessionResponse {
  return respond({
    $case: "globalModel",
    value: {
      cohort: cohort.cohort,
      planId: cohort.planId,
      globalVersion: BigInt(cohort.champion.version),
      weights: Buffer.from(encodeWeights(cohort.champion.weights)),
      trained: cohort.champion.trained,
      learningRateFactor: cohort.rate.factor,
      scales: [...(cohort.champion.fleet.scales ?? [])],
      thresholdFactor: cohort.champion.fleet.thresholdFactor ?? undefined,
      trainWhenInvited: cohort.federation.round.mode === "synchronous",
    },
  });
}

export function planChanged(cohort: CohortState): SessionResponse {
  return respond({ $case: "planChanged", value: { cohort: cohort.cohort, planId: cohort.planId } });
}

export function invitationMessage(
  { cohort, roundId, baseVersion, untilMs }: Invitation,
  nowMs: number,
): SessionResponse {
  return respond({
    $case: "invitation",
    value: {
      cohort,
      roundId: BigInt(roundId),
      baseVersion: BigInt(baseVersion),
      deadlineMs: Math.max(0, Math.round(untilMs - nowMs)),
    },
  });
}

export function feedbackMessage(feedback: GatewayFeedback): SessionResponse {
  const value: Feedback = {
    cohort: feedback.cohort,
    planId: feedback.planId,
    globalVersion: BigInt(feedback.version),
    promoted: feedback.promoted,
    learningRateFactor: feedback.factor,
    lossBefore: feedback.lossBefore ?? undefined,
    lossAfter: feedback.lossAfter ?? undefined,
    agreement: feedback.agreement ?? undefined,
    reason: feedback.reason,
  };
  return respond({ $case: "feedback", value });
}

export const commandMessage = (commandId: string, command: GatewayCommand): SessionResponse =>
  respond({ $case: "command", value: { commandId, action: commandAction(command) } });

function commandAction(command: GatewayCommand): Command["action"] {
  switch (command.action) {
    case "send_report":
      return { $case: "sendReport", value: {} };
    case "reconnect":
      return { $case: "drain", value: { reconnectAfterMs: RECONNECT_AFTER_MS } };
    case "activate_model": {
      const { cohort, globalVersion } = command;
      return { $case: "activateModel", value: { cohort, globalVersion: BigInt(globalVersion) } };
    }
    case "roll_back_model":
      return { $case: "rollBackModel", value: { cohort: command.cohort } };
  }
}
