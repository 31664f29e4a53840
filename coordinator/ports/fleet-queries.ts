// What the admin API reads of the fleet: pages of rows, newest first, and one overview. Times are ISO 8601 in UTC.
import type { DetectionScores } from "../../learning/detection.ts";
import type { GatewayId } from "../../learning/ids.ts";
import type { Baselines } from "../core/evaluate.ts";
import type { Judgement } from "../core/gate.ts";
import type { ModelStatus, Pin, WeightsState } from "../core/model-actions.ts";
import type { HeldCandidate } from "./gateway-store.ts";

export interface PageRequest<Key> {
  readonly limit: number;
  /** Where the page before ended; null: from the newest. */
  readonly after: Key | null;
  /** null: all cohorts. */
  readonly cohort: string | null;
}

export interface Page<Item, Key> {
  readonly items: Item[];
  /** Where this page ended; null: no row follows. */
  readonly next: Key | null;
}

/** A row's place in a list ordered by time: microseconds since 1970, then what makes the row unique. */
export interface TimeKey {
  readonly atUs: number;
  readonly id: string;
}

export interface RoundKey {
  readonly roundId: number;
}

export interface ModelKey {
  readonly atUs: number;
  readonly cohort: string;
  readonly globalVersion: number;
}

export interface CohortOverview {
  readonly cohort: string;
  readonly planId: string;
  readonly championVersion: number;
  /** The plan that the cohort is leaving, if it does. */
  readonly leaving: {
    readonly planId: string;
    readonly championVersion: number;
    /** Then it is left, whoever still holds it. */
    readonly leaveBy: string;
    /** Seen in the last day, holding it by their last word. */
    readonly gateways: number;
  } | null;
  readonly learningRateFactor: number;
  /** Null: a candidate may take the champion's place. */
  readonly pin: Pin | null;
  /** What waits for the next round, and what it waits for. */
  readonly openRound: {
    readonly updates: number;
    readonly updatesWanted: number;
    readonly gateways: number;
    readonly gatewaysWanted: number;
    /** Time of its first update; null: it has none. */
    readonly openedAt: string | null;
  };
  /** Over the cohort's life. */
  readonly updates: {
    /** Durable and answered: those of closed rounds and of the open ones, under any plan. */
    readonly acknowledged: number;
    readonly aggregated: number;
    /** Well-formed ones that were refused and kept with their reason. */
    readonly refused: number;
  };
}

/** As the agent counted since it was set up; null: it has not said. */
export interface GatewayHealth {
  readonly rows: number | null;
  readonly rowsRefused: number | null;
  readonly updatesTrained: number | null;
  readonly samplesTrained: number | null;
  readonly outboxBytes: number | null;
  readonly outboxDropped: number | null;
  readonly rssBytes: number | null;
  readonly windowsDropped: number | null;
  /** Of the gateway's wall clock; null: it does not say. */
  readonly clock: string | null;
  readonly quarantinedFiles: number | null;
  readonly storeBytes: number | null;
  /** Bytes since midnight UTC, as are those carried; null also: its machine does not say. */
  readonly flashWrittenToday: number | null;
  readonly carriedToday: number | null;
  readonly summariesWithheld: boolean | null;
  readonly updatesWithheld: boolean | null;
}

/** What a gateway holds of a cohort, and what its voice counts for in it. */
export interface GatewayCohort {
  readonly cohort: string;
  readonly planId: string | null;
  readonly globalVersion: number | null;
  readonly devices: string[];
  readonly candidate: HeldCandidate | null;
  readonly previousVersion: number | null;
  /** In [0.1, 1]. */
  readonly standing: number;
  /** Why it is, or was lately, below 1; null: nothing lowered it. */
  readonly standingReason: string | null;
  /** Null: never. */
  readonly standingChangedAt: string | null;
}

export interface GatewayItem {
  readonly gatewayId: string;
  readonly site: string;
  readonly agentVersion: string;
  readonly connected: boolean;
  readonly lastSeenAt: string;
  readonly createdAt: string;
  readonly cohorts: GatewayCohort[];
  readonly health: GatewayHealth | null;
}

/** What went with a model to the gateways; null: not known, or not asked for by the plan. */
export interface FleetItem {
  /** The median over the gateways of each channel's scale, in the plan's order and the channels' units. */
  readonly scales: readonly number[] | null;
  /** The fleet's quantile of score / own median. */
  readonly thresholdFactor: number | null;
}

export interface RoundItem {
  readonly roundId: number;
  readonly cohort: string;
  readonly baseVersion: number;
  readonly globalVersion: number;
  readonly rule: string;
  readonly verdict: Judgement["verdict"];
  readonly reason: string;
  readonly updates: number;
  readonly gateways: number;
  readonly samples: number;
  /** The candidate's scores; null: not evaluated. */
  readonly heldOut: DetectionScores | null;
  /** The champion's, on the same windows. */
  readonly championHeldOut: DetectionScores | null;
  readonly baselines: Baselines | null;
  /** The candidate's. */
  readonly fleet: FleetItem;
  /** In force after the round. */
  readonly learningRateFactor: number;
  readonly openedAt: string;
  readonly closedAt: string;
}

export interface MeasuredRound extends RoundItem {
  /** By name; pooled they are `heldOut`, `championHeldOut` and `baselines`. */
  readonly streams: readonly RoundStream[];
}

export interface RoundStream {
  readonly stream: string;
  readonly sha256: string;
  readonly scores: DetectionScores;
  readonly champion: DetectionScores | null;
  readonly baselines: Baselines | null;
}

export interface ModelItem {
  readonly cohort: string;
  readonly globalVersion: number;
  /** The champion whose place it took, or would have taken; null: there was none. */
  readonly parentVersion: number | null;
  /** Of a version that an operator made, the one whose weights it has; null: its weights are its own. */
  readonly originVersion: number | null;
  readonly planId: string;
  /** The round it came from; null: the plan's initial weights, or an operator's version. */
  readonly roundId: number | null;
  readonly status: ModelStatus;
  readonly rule: string;
  readonly devices: number;
  readonly gateways: number;
  readonly samples: number;
  /** On the held-out streams; null: not evaluated. */
  readonly accuracy: number | null;
  readonly loss: number | null;
  readonly fleet: FleetItem;
  readonly weights: WeightsState;
  /** The operator who made it; null: a round or the plan did. */
  readonly actor: string | null;
  /** The operator's, or the round's; null: the plan's initial weights. */
  readonly reason: string | null;
  readonly createdAt: string;
}

export interface ReplicaItem {
  readonly replicaId: string;
  readonly version: string;
  /** Runs the rounds. */
  readonly leads: boolean;
  /** With a session there. */
  readonly gateways: number;
  readonly startedAt: string;
  readonly lastSeenAt: string;
}

export interface Contributor {
  readonly channel: string;
  readonly share: number;
  readonly value: number;
  readonly expected: [number, number];
  readonly unit: string;
}

export interface EpisodeItem {
  readonly alertId: string;
  readonly gatewayId: string;
  readonly deviceId: string;
  readonly cohort: string;
  readonly modelKind: string;
  readonly globalVersion: number;
  readonly state: "active" | "cleared";
  readonly severity: "minor" | "major" | "critical";
  readonly score: number;
  readonly threshold: number;
  readonly confidence: number;
  readonly contributors: Contributor[];
  readonly count: number;
  readonly startedAt: string;
  readonly updatedAt: string;
  readonly receivedAt: string;
}

/**
 * Paging from `after: null` along `next` gives every row that was there at the start exactly once, whatever is added
 * meanwhile. Each call rejects with FleetUnavailableError when the store does not answer.
 */
export interface FleetQueries {
  cohorts(): Promise<CohortOverview[]>;
  gateways(request: PageRequest<TimeKey>): Promise<Page<GatewayItem, TimeKey>>;
  /** Null: there is none of this name. */
  gateway(gateway: GatewayId): Promise<GatewayItem | null>;
  /** The coordinators that showed themselves lately. */
  replicas(): Promise<ReplicaItem[]>;
  rounds(request: PageRequest<RoundKey>): Promise<Page<RoundItem, RoundKey>>;
  /** Null: there is none. */
  round(roundId: number): Promise<MeasuredRound | null>;
  models(request: PageRequest<ModelKey>): Promise<Page<ModelItem, ModelKey>>;
  episodes(request: PageRequest<TimeKey>): Promise<Page<EpisodeItem, TimeKey>>;
}

export class FleetUnavailableError extends Error {
  constructor(cause: unknown) {
    super("the database does not answer", { cause });
    this.name = "FleetUnavailableError";
  }
}
