// What becomes of a cohort's models, told over MQTT and in the log.
import type { Logger } from "../runtime/log.ts";
import type { Cohort } from "./cohort.ts";
import { modelMessage, type Origin, type OutgoingMessage } from "./core/alert.ts";
import { describeTrial } from "./core/try-model.ts";
import type { Candidate, Slot, Tuning } from "./ports/agent-store.ts";
import type { Update } from "./ports/coordinator-link.ts";
import type { ReportTrouble } from "./trouble.ts";

export interface ModelNewsDeps {
  readonly origin: Origin;
  readonly log: Logger;
  readonly trouble: ReportTrouble;
  readonly stamp: () => { readonly id: string; readonly atMs: number };
  /** Of interest only while it is fresh. */
  readonly tell: (message: OutgoingMessage) => void;
}

export class ModelNews {
  readonly #deps: ModelNewsDeps;

  constructor(deps: ModelNewsDeps) {
    this.#deps = deps;
  }

  trained(update: Update, tuning: Tuning | null): void {
    this.#tell("trained", {
      cohort: update.cohort,
      plan_id: update.planId,
      update_id: update.updateId,
      global_version: update.baseVersion,
      local_steps: update.localSteps,
      samples: update.samples,
      loss: update.loss,
      ...(tuning === null ? {} : { fine_tuning: tuningData(tuning) }),
    });
    if (tuning === null) return;
    const { cohort, baseVersion: globalVersion } = update;
    const scoresBy = tuning.weights === null ? "the champion's layers score" : "layers of this gateway's own score";
    this.#deps.log.info({ cohort, globalVersion, ...tuningData(tuning) }, `fine-tuned: ${scoresBy}`);
  }

  activated({ cohort, learner }: Cohort, { globalVersion, trained }: Slot): void {
    this.#deps.log.info({ cohort, globalVersion, trained }, "global model activated");
    this.#tell("activated", { cohort, plan_id: learner?.plan.planId, global_version: globalVersion, trained });
  }

  held({ cohort, learner }: Cohort, { globalVersion, trial }: Candidate): void {
    const active = learner?.slot?.globalVersion ?? 0;
    const found = trial && describeTrial(trial);
    this.#deps.trouble("model_held", cohort, `version ${globalVersion} beside the active ${active}: ${found}`);
    this.#tell("candidate", {
      cohort,
      plan_id: learner?.plan.planId,
      global_version: globalVersion,
      active_version: active,
      reason: found,
    });
  }

  #tell(what: "trained" | "activated" | "candidate", data: Parameters<typeof modelMessage>[3]): void {
    const { origin, stamp, tell } = this.#deps;
    tell(modelMessage(origin, what, stamp(), data));
  }
}

const tuningData = ({ weights, rows, championError, tunedError }: Tuning) => ({
  used: weights !== null,
  rows,
  champion_error: championError,
  tuned_error: tunedError,
});
