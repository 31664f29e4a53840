// What the coordinator keeps of gateways: presence, reports, and which feedback they have acknowledged.
import type { GatewayStatistics } from "../../learning/fleet.ts";
import type { CohortId, GatewayId, PlanId } from "../../learning/ids.ts";
import type { GatewayFeedback } from "./federation-store.ts";

/** What a gateway holds of one cohort. */
export interface HeldCohort {
  readonly cohort: string;
  readonly planId: string;
  /** That is active there. */
  readonly globalVersion: number;
  readonly devices: readonly string[];
  readonly candidate: HeldCandidate | null;
  /** That it can go back to; null: none. */
  readonly previousVersion: number | null;
}

/** The cohort's champion, which the gateway does not use. */
export interface HeldCandidate {
  readonly globalVersion: number;
  /** In which it did clearly worse than the active model on the gateway's own rows; null: it was rolled back from. */
  readonly trial: HeldTrial | null;
}

/** The candidate beside the active model; null: not measured. */
export interface HeldTrial {
  readonly rows: number;
  /** Median of candidate to active over normal rows: of errors … */
  readonly ratio: number | null;
  /** … or of probabilities and isolation scores. */
  readonly difference: number | null;
  readonly labelledRows: number;
  readonly labelledDifference: number | null;
}

export interface GatewayHello {
  readonly gatewayId: GatewayId;
  readonly site: string;
  readonly agentVersion: string;
  readonly cohorts: readonly HeldCohort[];
}

export interface GatewayReport {
  readonly gatewayId: GatewayId;
  readonly episodes: readonly ReportedEpisode[];
  readonly cohorts: readonly HeldCohort[];
  /** At most one of a cohort; in place of what the gateway said of it before. */
  readonly statistics: readonly ReportedStatistics[];
  /** Null: not said. */
  readonly health: object | null;
}

export interface ReportedStatistics extends GatewayStatistics {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  /** The champion that gave the scores. */
  readonly globalVersion: number;
}

export interface ReportedEpisode {
  readonly alertId: string;
  readonly deviceId: string;
  readonly cohort: string;
  readonly modelKind: string;
  readonly globalVersion: number;
  readonly state: "active" | "cleared";
  readonly severity: "minor" | "major" | "critical";
  readonly score: number;
  readonly threshold: number;
  readonly confidence: number;
  readonly contributors: readonly object[];
  readonly count: number;
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
}

export interface FeedbackAcknowledgement {
  readonly gatewayId: GatewayId;
  readonly cohort: CohortId;
  readonly globalVersion: number;
}

export interface GatewayStore {
  /** This replica is there; to be said again every few seconds. */
  showReplica(): Promise<void>;
  /** Gateways of replicas that are gone have no session. */
  forgetGoneReplicas(): Promise<void>;
  /** This replica ends, and its sessions with it. */
  leaveReplicas(): Promise<void>;
  /** True when its session was with another replica before, as far as is known. */
  connected(hello: GatewayHello): Promise<boolean>;
  /** They have a session here right now. */
  seen(gateways: readonly GatewayId[]): Promise<void>;
  /** Changes nothing when it has a session with another replica by now. */
  disconnected(gateway: GatewayId): Promise<void>;
  /**
   * All of them or none; at most one of a gateway. Repeating a report changes nothing. Who has a session they don't say: a
   * gateway may have left before its report is stored.
   */
  addReports(reports: readonly GatewayReport[]): Promise<void>;
  /** The newest feedback of each cohort that this gateway has not acknowledged. */
  openFeedback(gateway: GatewayId): Promise<GatewayFeedback[]>;
  /** Of the rounds after this version, oldest first. */
  feedbackSince(cohort: CohortId, version: number): Promise<GatewayFeedback[]>;
  /** With it what came before: a gateway follows the newest only. At most one of a gateway and cohort. */
  acknowledgeFeedback(acknowledged: readonly FeedbackAcknowledgement[]): Promise<void>;
}
