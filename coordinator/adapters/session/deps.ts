// What the session's messages work with.
import type { GatewayId } from "../../../learning/ids.ts";
import type { Logger } from "../../../runtime/log.ts";
import type { Problems } from "../../../runtime/problems.ts";
import type { Cohorts } from "../../ports/cohorts.ts";
import type { FederationStore } from "../../ports/federation-store.ts";
import type { GatewayStore } from "../../ports/gateway-store.ts";
import type { Invitations } from "../../ports/invitations.ts";
import type { Notices } from "../../ports/notices.ts";
import type { ReportIntake } from "../report-intake.ts";
import type { UpdateIntake } from "../update-intake.ts";
import type { AdmissionLimits } from "./admission.ts";
import type { SampleBudgets } from "./sample-budgets.ts";

export type ProblemKind =
  | "update_refused"
  | "report_refused"
  | "statistics_refused"
  | "window_malformed"
  | "window_future"
  | "window_expired"
  | "window_limit"
  | "session_refused"
  | "slow_reader"
  | "overload"
  | "plan_request"
  | "held_out_served"
  | "live_row_refused"
  | "live_label_refused"
  | "live_windows_lost"
  | "live_broker"
  | "live_drift"
  | "database";

/** A database that does not answer by then does not hold up the session's next messages. */
export const DATABASE_ANSWER_MS = 10_000;

export interface Gateway {
  readonly gatewayId: GatewayId;
  /** Those of its hello that exist here, and the plan it last said to hold of each; it may speak of no other. */
  readonly cohorts: Map<string, string>;
}

export interface SessionDeps {
  readonly store: FederationStore;
  readonly gateways: GatewayStore;
  readonly invitations: Pick<Invitations, "open">;
  readonly reports: Pick<ReportIntake, "add">;
  /** Windows that are older are refused. */
  readonly windowsKeptMs: number;
  readonly cohorts: Cohorts;
  readonly budgets: SampleBudgets;
  readonly notices: Pick<Notices, "tell">;
  readonly intake: Pick<UpdateIntake, "whenCalm">;
  readonly limits: AdmissionLimits;
  readonly problems: Problems<ProblemKind>;
  readonly log: Logger;
  readonly replicaId: string;
  readonly version: string;
}
