// What the coordinator keeps of cohorts, updates and rounds. Every method is durable before it resolves.

import type { DetectionScores } from "../../learning/detection.ts";
import type { GatewayStatistics } from "../../learning/fleet.ts";
import type { CohortId, GatewayId, PlanId, UpdateId } from "../../learning/ids.ts";
import type { DeltaCodec, FederationSettings, Manifest } from "../../learning/plan.ts";
import type { Refusal } from "../core/check-update.ts";
import type { CohortState, GlobalModel } from "../core/cohort-state.ts";
import type { RoundUpdate } from "../core/combine-updates.ts";
import type { Contribution } from "../core/contributions.ts";
import type { Baselines, EvaluatedRow } from "../core/evaluate.ts";
import type { Judgement } from "../core/gate.ts";
import type { GatewayStanding } from "../core/gateway-standing.ts";
import type { Trend } from "../core/learning-rate.ts";
import type { OpenRound } from "../core/round-machine.ts";
import type { MeasuredStream } from "./evaluator.ts";

export interface NewUpdate {
  readonly updateId: UpdateId;
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly gatewayId: GatewayId;
  readonly baseVersion: number;
  readonly localSteps: number;
  readonly samples: number;
  readonly loss: number;
  readonly encoding: DeltaCodec["kind"];
  /** As it came over the wire, in the plan's codec, already checked. */
  readonly delta: Uint8Array;
}

export interface PlanDefinition {
  readonly planId: PlanId;
  readonly manifest: Manifest;
  readonly bundle: Uint8Array;
  readonly initialWeights: Float32Array;
}

/** Of a plan that is being left, where nothing else is said. */
export const LEAVE_AFTER_MS = 7 * 86_400_000;

/** A passed dry run by its id. */
export type DryRunProof = number | "forced" | "at_start" | "same_plan";

export interface ActivationOrder {
  readonly actor: string;
  readonly reason: string;
  /** How long the plan before may still be held. */
  readonly leaveAfterMs: number;
  /** The one that it passed, or why none was asked for; for the audit log. */
  readonly dryRun: DryRunProof;
  /** False: a plan that the cohort left, or is leaving, is not taken up again. */
  readonly again: boolean;
}

export interface GatewayFeedback {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly gatewayId: GatewayId;
  readonly version: number;
  readonly promoted: boolean;
  readonly factor: number;
  readonly lossBefore: number | null;
  readonly lossAfter: number | null;
  readonly trend: Trend | null;
  readonly agreement: number | null;
  readonly reason: string;
}

export interface StandingChange {
  readonly gatewayId: GatewayId;
  readonly before: GatewayStanding;
  readonly after: GatewayStanding;
}

/** Somebody else moved the cohort meanwhile, another leader or an operator: nothing was written. */
export class RoundConflictError extends Error {
  constructor(cohort: string, detail: string) {
    super(`the round of cohort ${cohort} was not recorded: ${detail}`);
    this.name = "RoundConflictError";
  }
}

/** What a round measured on one stream: the candidate's scores, and beside them the champion's and the baselines'. */
export interface RecordedStream extends MeasuredStream {
  readonly champion: DetectionScores | null;
}

export interface RoundRecord {
  /** The cohort before and after; the round has the number of the invitation before, if there is one, and ends it. */
  readonly before: CohortState;
  readonly after: CohortState;
  readonly candidate: GlobalModel;
  readonly rule: string;
  readonly verdict: Judgement["verdict"];
  readonly reason: string;
  readonly updates: readonly RoundUpdate[];
  /** One an update, in the same order; kept for ever. */
  readonly contributions: readonly Contribution[];
  readonly heldOut: DetectionScores | null;
  readonly championHeldOut: DetectionScores | null;
  readonly baselines: Baselines | null;
  /** Pooled they are the three above. */
  readonly streams: readonly RecordedStream[];
  readonly evaluatedRows: readonly EvaluatedRow[];
  readonly feedback: readonly GatewayFeedback[];
  /** One that was reset meanwhile stays as it was reset. */
  readonly standings: readonly StandingChange[];
}

/** The update may or may not be durable: sent again after `retryAfterMs`, it is "stored" or "known". */
export class NotStoredError extends Error {
  readonly reason: "database" | "busy" | "open_updates";
  readonly retryAfterMs: number;
  constructor(reason: NotStoredError["reason"], message: string, retryAfterMs: number, cause?: unknown) {
    super(message, { cause });
    this.name = "NotStoredError";
    this.reason = reason;
    this.retryAfterMs = Math.ceil(retryAfterMs);
  }
}

export interface FederationStore {
  /**
   * Makes the cohort learn by this plan, with its audit row; a cohort that does or did keeps that plan's champion and
   * history. The plan it learned by until now is left: at the order's deadline, or before if no gateway holds it. Gives
   * the plan that the cohort learns by then.
   */
  defineCohort(
    cohort: CohortId,
    plan: PlanDefinition,
    federation: FederationSettings,
    order: ActivationOrder,
  ): Promise<PlanId>;
  /** Leaves plans past their deadline, or held by no gateway seen in the last `absentMs`; gives how many. */
  leavePlans(absentMs: number): Promise<number>;
  /**
   * Cohorts under their active plan, and under the one they leave, if this version of FLEAD can read it. Each of the others is told to `leftOut` and stays as it is
   * stored: another plan of it can be defined.
   */
  loadCohorts(leftOut?: (cohort: CohortId, planId: PlanId, why: string) => void): Promise<CohortState[]>;
  /** Under its active plan, or under `plan`, active or leaving. Null: there is none, or none that this version can read. */
  loadCohort(cohort: CohortId, plan?: PlanId): Promise<CohortState | null>;
  /** Under each of its plans that this version can read, the active one first. */
  loadPlans(cohort: CohortId): Promise<CohortState[]>;
  /** Of every cohort; cheap. */
  revisions(): Promise<ReadonlyMap<CohortId, number>>;
  planBundle(plan: PlanId): Promise<Uint8Array | null>;

  /** A second call with the same updateId changes nothing and says so. Rejects with NotStoredError. */
  addUpdate(update: NewUpdate): Promise<"stored" | "known">;
  /**
   * Keeps that a well-formed update was refused, and why; its delta is not kept. One that was stored when it came first
   * is "known" and stays what it was: a resend does not get staler than its first sending. Rejects with NotStoredError.
   */
  addRefusal(update: NewUpdate, refusal: Refusal): Promise<"refused" | "known">;
  /** With the time by the store's own clock, of which all its times are. */
  openRound(cohort: Pick<CohortState, "cohort" | "planId">): Promise<OpenRound & { readonly nowMs: number }>;
  /** The updates the closing round counts, oldest first; bounded in total and for any one gateway. */
  roundUpdates(cohort: CohortState): Promise<RoundUpdate[]>;
  /** The last 7 days' latest word of each gateway under the cohort's plan; of at most 1,000, those that spoke last. */
  gatewayStatistics(cohort: CohortState): Promise<GatewayStatistics[]>;
  /**
   * All of a round or nothing: its updates are counted exactly once, whenever the process dies, and each change of the
   * learning-rate factor and of a standing is in the audit log. Throws RoundConflictError when the cohort has another
   * revision by now. Every coordinator hears that the cohort moved.
   */
  recordRound(record: RoundRecord): Promise<void>;
}
