// An update arrives: it is checked, committed, and only then answered.
import { UndecodableDeltaError } from "../../../learning/codecs/errors.ts";
import { planId, updateId } from "../../../learning/ids.ts";
import { DELTA_ENCODING } from "../../../proto/delta-encoding.ts";
import { type SessionResponse, type Update, UpdateStatus } from "../../../proto/gen/flead/v1/federation.ts";
import { checkAnswer, checkClaim, checkDelta, type Refusal } from "../../core/check-update.ts";
import { type CohortState, cohortFacts } from "../../core/cohort-state.ts";
import { type NewUpdate, NotStoredError } from "../../ports/federation-store.ts";
import type { Gateway, SessionDeps } from "./deps.ts";
import { planOf } from "./held-cohorts.ts";
import { respond } from "./messages.ts";

const RETRY_AFTER_MS = 2_000;
const LARGE_BYTES = 16_384;

type Deps = Pick<SessionDeps, "store" | "invitations" | "cohorts" | "budgets" | "problems">;

export const pushUpdate =
  (deps: Deps) =>
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

    const cohort = gateway.cohorts.has(message.cohort) ? planOf(deps.cohorts, message) : undefined;
    if (cohort === undefined)
      return refuse(
        "unknown_cohort",
        `${JSON.stringify(message.cohort.slice(0, 64))} is no cohort that this gateway said hello for`,
      );
    const checked = check(gateway, cohort, message);
    if ("reason" in checked) return refuse(checked.reason, checked.message);
    const { update } = checked;
    try {
      const refusal =
        checked.refusal ??
        (await checkRound(deps, gateway, cohort, Number(message.roundId))) ??
        deps.budgets.claim(update, cohort.federation.samples);
      if (refusal) {
        const kept = await deps.store.addRefusal(update, refusal);
        return kept === "known" ? answer(UpdateStatus.KNOWN) : refuse(refusal.reason, refusal.message);
      }
      const stored = await addUpdate(deps, update);
      if (stored === "stored") deps.cohorts.updateStored(message.cohort);
      return answer(stored === "stored" ? UpdateStatus.ACCEPTED : UpdateStatus.KNOWN);
    } catch (error) {
      const { retryAfterMs = RETRY_AFTER_MS, reason = "database" } = error instanceof NotStoredError ? error : {};
      const why = (error as Error).message;
      deps.problems.report(reason === "database" ? "database" : "overload", `update ${update.updateId}`, why);
      return answer(UpdateStatus.RETRY, why, retryAfterMs);
    } finally {
      giveUp(update.delta);
    }
  };

/** Returns the memory of a large delta at once: waiting for the garbage collector, thousands of them would be held. */
export function giveUp({ buffer, byteLength }: Uint8Array): void {
  const isItsOwn = byteLength > buffer.byteLength / 2;
  if (byteLength >= LARGE_BYTES && isItsOwn && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** What was claimed for it is given back unless it counts now. */
async function addUpdate({ store, budgets }: Deps, update: NewUpdate): Promise<"stored" | "known"> {
  let stored: "stored" | "known" = "known";
  try {
    stored = await store.addUpdate(update);
    return stored;
  } finally {
    if (stored === "known") budgets.giveBack(update);
  }
}

/** Another replica may have invited since this one last heard: then the database says so. */
async function checkRound(
  deps: Deps,
  { gatewayId }: Gateway,
  cohort: CohortState,
  roundId: number,
): Promise<Refusal | null> {
  const { federation, invitation } = cohort;
  if (federation.round.mode === "buffered") return null;
  const refusal = checkAnswer(roundId, gatewayId, invitation);
  return refusal && checkAnswer(roundId, gatewayId, await deps.invitations.open(cohort));
}

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
    const { codec } = cohort.manifest.training;
    if (message.encoding !== DELTA_ENCODING[codec.kind]) {
      const detail = `encoding ${message.encoding}; the plan's is ${codec.kind} (${DELTA_ENCODING[codec.kind]})`;
      return { kind: "malformed", reason: "wrong_encoding", message: detail };
    }
    const fault = checkDelta(cohort.manifest, message.delta);
    if (fault?.kind === "malformed") return fault;
    const { gatewayId } = gateway;
    const update = { ...claim, cohort: cohort.cohort, gatewayId, encoding: codec.kind, delta: message.delta };
    return { update, refusal: refusal ?? fault };
  } catch (error) {
    const reason = error instanceof UndecodableDeltaError ? "undecodable_delta" : "unknown_plan";
    return { kind: "malformed", reason, message: (error as Error).message };
  }
}
