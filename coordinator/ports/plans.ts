// The plans that a coordinator has, and which of them its cohorts learn by.
import type { CohortId, PlanId } from "../../learning/ids.ts";
import type { FederationSettings, Manifest } from "../../learning/plan.ts";
import type { PlanState } from "../core/cohort-state.ts";
import type { Page, TimeKey } from "./fleet-queries.ts";

export interface UploadedPlan {
  readonly planId: PlanId;
  /** As its file names the cohort; nothing has changed for it yet. */
  readonly cohort: string;
  /** As in its file, with the defaults. */
  readonly federation: FederationSettings;
  readonly bundleBytes: number;
}

export interface PlanItem {
  readonly planId: string;
  readonly model: string;
  readonly channels: readonly string[];
  readonly bundleBytes: number;
  readonly createdAt: string;
  readonly cohorts: readonly {
    readonly cohort: string;
    readonly state: PlanState;
    readonly championVersion: number;
    readonly federation: FederationSettings;
    readonly activatedAt: string;
    /** Null: it is not being left. */
    readonly leaveBy: string | null;
    /** Seen in the last day, holding it by their last word. */
    readonly gateways: number;
  }[];
}

export interface PlanDetail extends PlanItem {
  readonly manifest: Manifest;
}

export interface PlanOrder {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  /** As a plan file says it, unchecked; undefined: the cohort's settings stay, a new cohort's are the defaults. */
  readonly federation: unknown;
  readonly leaveAfterMs: number;
  /** Without a passed dry run, too. */
  readonly force: boolean;
  readonly actor: string;
  readonly reason: string;
}

export interface ActivatedPlan {
  readonly cohort: CohortId;
  readonly planId: PlanId;
  readonly championVersion: number;
  /** The plan that the cohort leaves, if it does. */
  readonly leaving: string | null;
}

/** Every method rejects with FleetUnavailableError when the store does not answer. */
export interface Plans {
  /** Compiles a cohort's plan file and keeps the plan; the same file again changes nothing. Rejects with UnusablePlanError. */
  upload(yaml: string, actor: string): Promise<UploadedPlan>;
  /** The newest first. */
  list(request: { readonly limit: number; readonly after: TimeKey | null }): Promise<Page<PlanItem, TimeKey>>;
  get(plan: PlanId): Promise<PlanDetail | null>;
  /**
   * With its audit row; every coordinator hears of it. Rejects with UnknownPlanError or UnusablePlanError, and with
   * NotTriedError unless the order forces it, the cohort learns by the plan already, or its newest dry run on the frozen
   * streams as they are now has passed.
   */
  activate(order: PlanOrder): Promise<ActivatedPlan>;
}

export class UnknownPlanError extends Error {
  constructor(plan: string) {
    super(`there is no plan ${plan}: upload its file first`);
    this.name = "UnknownPlanError";
  }
}

/** The message names the key, what was given and what is allowed. */
export class UnusablePlanError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "UnusablePlanError";
  }
}
