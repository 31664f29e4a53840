// An update arrives: it is checked, committed, and only then answered.
import { planId, updateId } from "../../../learning/ids.ts";
import { weightCount } from "../../../learning/plan.ts";
import {
  DeltaEncoding,
  type SessionResponse,
  type Update,
  UpdateStatus,
} from "../../../proto/gen/flead/v1/federation.ts";
import { decodeWeights, WeightsError } from "../../../proto/weights.ts";
import { checkClaim, checkDelta, type Refusal } from "../../core/check-update.ts";
import { type CohortState, cohortFacts } from "../../core/cohort-state.ts";
import type { NewUpdate } from "../../ports/federation-store.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { respond } from "./messages.ts";

const RETRY_AFTER_MS = 2_000;

export const pushUpdate =
  (deps: SessionDeps) =>
  async (gateway: Gateway, message: Update): Promise<SessionResponse> => {
    const answer = (status: UpdateStatus, reason = "", retryAfterMs = 0) =>
      respond({
        $case: "updateResult",
        value: { updateId: message.updateId.slice(0, 64), status, reason, retryAfterMs },
      });
    const refuse = (reason: string, detail: string) => {
      deps.problems.report(
        "update_refused",
        `gateway ${gateway.gatewayId} update ${message.updateId}`,
        `${reason}: ${detail}`,
      );
      return answer(UpdateStatus.REFUSED, `${reason}: ${detail}`);
    };

    const cohort = gateway.cohorts.has(message.cohort) ? deps.cohorts.get(message.cohort) : undefined;
    if (cohort === undefined)
      return refuse(
        "unknown_cohort",
        `${JSON.stringify(message.cohort.slice(0, 64))} is no cohort that this gateway said hello for`,
      );
    const checked = check(gateway, cohort, message);
    if ("reason" in checked) return refuse(checked.reason, checked.message);
    const { update, refusal } = checked;
    try {
      if (refusal) {
        const kept = await deps.store.addRefusal(update, refusal);
        return kept === "known" ? answer(UpdateStatus.KNOWN) : refuse(refusal.reason, refusal.message);
      }
      const stored = await deps.store.addUpdate(update);
      if (stored === "stored") deps.cohorts.updateStored(message.cohort);
      return answer(stored === "stored" ? UpdateStatus.ACCEPTED : UpdateStatus.KNOWN);
    } catch (error) {
      const why = (error as Error).message;
      deps.problems.report(
        "database",
        `update ${update.updateId}`,
        `it could not be stored and will be sent again: ${why}`,
      );
      return answer(UpdateStatus.RETRY, "it could not be stored", RETRY_AFTER_MS);
    }
  };

/** The update with the refusal that policy gives it, or why it is not even well-formed. */
function check(
  gateway: Gateway,
  cohort: CohortState,
  message: Update,
): Refusal | { update: NewUpdate; refusal: Refusal | null } {
  try {
    const claim = {
      updateId: updateId(message.updateId),
      planId: planId(message.planId),
      baseVersion: Number(message.baseVersion),
      localSteps: Number(message.localSteps),
      samples: Number(message.samples),
      loss: message.loss,
    };
    const refusal = checkClaim(claim, cohortFacts(cohort));
    if (refusal?.kind === "malformed") return refusal;
    if (message.encoding !== DeltaEncoding.FLOAT32)
      throw new WeightsError("wrong_length", `encoding ${message.encoding} is not known`);
    const delta = decodeWeights(message.delta, weightCount(cohort.manifest.weights));
    const update = { ...claim, cohort: cohort.cohort, gatewayId: gateway.gatewayId, delta: message.delta };
    return { update, refusal: refusal ?? checkDelta(delta) };
  } catch (error) {
    const reason = error instanceof WeightsError ? error.reason : "unknown_plan";
    return { kind: "malformed", reason, message: (error as Error).message };
  }
}
