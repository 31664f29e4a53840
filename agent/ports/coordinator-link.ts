// The coordinator as a gateway meets it: one session at a time, and plans by their hash.

import type { FleetStatistics, GatewayStatistics } from "../../learning/fleet.ts";
import type { CohortId, DeviceId, GatewayId, PlanId, UpdateId } from "../../learning/ids.ts";
import type { DeltaCodec } from "../../learning/plan.ts";
import type { ClockQuality } from "../core/clock.ts";
import type { Withheld } from "../core/day-bytes.ts";
import type { Episode } from "../core/episode.ts";
import type { Trial } from "../core/try-model.ts";
import type { WindowSummary } from "../core/windows.ts";
import type { FetchedPlan } from "./plan.ts";

export interface Hello {
  readonly gatewayId: GatewayId;
  readonly agentVersion: string;
  readonly site: string;
  readonly cohorts: readonly CohortHeld[];
}

export interface CohortHeld {
  readonly cohort: CohortId;
  readonly planId: PlanId | null;
  /** 0: no model held. */
  readonly globalVersion: number;
  readonly devices: readonly DeviceId[];
  /** The champion that is not used, and why: an operator rolled back from it where there is no trial; null: it is used. */
  readonly candidate: { readonly globalVersion: number; readonly trial: Trial | null } | null;
  /** That can be rolled back to; null: none. */
  readonly previousVersion: number | null;
}

export interface Update {
  readonly updateId: UpdateId;
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly baseVersion: number;
  readonly localSteps: number;
  /** Rows of this training. */
  readonly samples: number;
  readonly loss: number;
  readonly encoding: DeltaCodec["kind"];
  /**
   * Local weights after this training minus before it, in the plan's codec: decoded, those on one base add up to how far
   * the gateway moved from it, less the slot's residual.
   */
  readonly delta: Uint8Array;
  /** The round that it was invited to; null: it trained by itself. */
  readonly roundId: number | null;
}

export interface GatewayHealth {
  readonly rows: number;
  readonly rowsRefused: number;
  readonly updatesTrained: number;
  readonly samplesTrained: number;
  readonly outboxBytes: number;
  readonly outboxDropped: number;
  readonly windowsDropped: number;
  readonly rssBytes: number;
  readonly quarantinedFiles: number;
  readonly storeBytes: number;
  /** Null: not measured. */
  readonly flashWrittenToday: number | null;
  /** Between gateway and coordinator, both ways. */
  readonly carriedToday: number;
  readonly withheld: readonly Withheld[];
}

/** Of the calibrated devices together. */
export interface CohortStatistics extends GatewayStatistics {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  /** The champion that gave the scores. */
  readonly globalVersion: number;
}

/** Closed windows of devices that have the same channels. */
export interface WindowSummaries {
  readonly cohort: CohortId;
  readonly windowMs: number;
  readonly channels: readonly string[];
  readonly windows: readonly DeviceWindow[];
}

export interface DeviceWindow extends WindowSummary {
  readonly deviceId: DeviceId;
}

export interface Report {
  readonly reportId: string;
  readonly episodes: readonly Episode[];
  readonly health: GatewayHealth;
  readonly clock: ClockQuality;
  readonly cohorts: Hello["cohorts"];
  readonly statistics: readonly CohortStatistics[];
  readonly summaries: readonly WindowSummaries[];
}

export interface GlobalModel {
  readonly kind: "globalModel";
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly globalVersion: number;
  /** Finite; the length is not checked. */
  readonly weights: Float32Array;
  readonly trained: boolean;
  /** In force for the cohort; null: not said. */
  readonly learningRateFactor: number | null;
  /** The cohort's gateways train when they are invited, and at no other time. */
  readonly trainWhenInvited: boolean;
  /** As it was said; whether it fits the plan is not checked. */
  readonly fleet: FleetStatistics;
}

export interface Feedback {
  readonly kind: "feedback";
  readonly cohort: CohortId;
  /** Of the candidate; null: not said. */
  readonly planId: PlanId | null;
  readonly globalVersion: number;
  readonly promoted: boolean;
  readonly learningRateFactor: number;
  readonly reason: string;
}

export interface FeedbackAcknowledgement {
  readonly cohort: CohortId;
  readonly globalVersion: number;
  readonly learningRateFactor: number;
}

/** A round wants one update of this gateway. */
export interface Invitation {
  readonly kind: "invitation";
  readonly cohort: CohortId;
  readonly roundId: number;
  /** The champion to train from. */
  readonly baseVersion: number;
  /** From when it was said; later updates are refused. */
  readonly deadlineMs: number;
}

/** An operator's word on the model that a cohort uses here. */
export type ModelCommand =
  | { readonly kind: "activateModel"; readonly cohort: CohortId; readonly globalVersion: number }
  | { readonly kind: "rollBackModel"; readonly cohort: CohortId };

export type UpdateStatus = "accepted" | "known" | "refused" | "retry";

export type FromCoordinator =
  | { readonly kind: "planChanged"; readonly cohort: CohortId; readonly planId: PlanId }
  | GlobalModel
  | Feedback
  | Invitation
  | ModelCommand
  | {
      readonly kind: "updateResult";
      readonly updateId: string;
      readonly status: UpdateStatus;
      readonly reason: string;
      readonly retryAfterMs: number;
    }
  | { readonly kind: "reportResult"; readonly reportId: string }
  | { readonly kind: "sendReport" }
  | { readonly kind: "drain"; readonly reconnectAfterMs: number }
  /** Something that no message of this protocol may say; it changes nothing. */
  | { readonly kind: "unusable"; readonly what: string };

export type ToCoordinator =
  | { readonly kind: "update"; readonly update: Update }
  | { readonly kind: "feedbackAcknowledgement"; readonly acknowledgement: FeedbackAcknowledgement }
  | { readonly kind: "report"; readonly report: Report };

export interface Session {
  /** Cohorts of the hello that the coordinator does not have. */
  readonly unknownCohorts: readonly string[];
  /** In the order they were said; ends when the session ends and throws when it broke. To be iterated once. */
  readonly messages: AsyncIterable<FromCoordinator>;
  /** Resolves when another message may follow; rejects when the session is over. */
  send(message: ToCoordinator): Promise<void>;
  close(): void;
}

export interface CoordinatorLink {
  /** Resolves once the coordinator has welcomed the gateway. */
  connect(hello: Hello, signal: AbortSignal): Promise<Session>;
  /** Rejects unless every byte came in order, the whole has the hash `planId`, and a signature, if there is one, fits. */
  fetchPlan(planId: PlanId, signal: AbortSignal): Promise<FetchedPlan>;
  close(): void;
}
