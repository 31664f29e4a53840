// What the session's messages work with.
import type { GatewayId } from "../../../learning/ids.ts";
import type { Logger } from "../../../runtime/log.ts";
import type { Problems } from "../../../runtime/problems.ts";
import type { Cohorts } from "../../ports/cohorts.ts";
import type { FederationStore } from "../../ports/federation-store.ts";
import type { GatewayStore } from "../../ports/gateway-store.ts";
import type { Notices } from "../../ports/notices.ts";

export type ProblemKind =
  | "update_refused"
  | "report_refused"
  | "statistics_refused"
  | "session_refused"
  | "slow_reader"
  | "plan_request"
  | "held_out_served"
  | "database";

export interface Gateway {
  readonly gatewayId: GatewayId;
  /** Those of its hello that exist here; it may speak of no other. */
  readonly cohorts: ReadonlySet<string>;
}

export interface SessionDeps {
  readonly store: FederationStore;
  readonly gateways: GatewayStore;
  readonly cohorts: Cohorts;
  readonly notices: Pick<Notices, "tell">;
  readonly problems: Problems<ProblemKind>;
  readonly log: Logger;
  readonly replicaId: string;
  readonly version: string;
}
