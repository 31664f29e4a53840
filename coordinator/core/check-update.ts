// Whether an update counts: pure checks in the order in which they are cheapest, each with a typed reason.
import { decodeDelta, deltaNorm } from "../../learning/codecs/codec.ts";
import { forestShape, unpackForest } from "../../learning/forest-weights.ts";
import type { GatewayId, UpdateId } from "../../learning/ids.ts";
import { InvalidTreesError } from "../../learning/isolation-trees.ts";
import type { Manifest } from "../../learning/plan.ts";
import type { Invitation } from "./invitation.ts";

/** What an update claims, its delta not yet decoded. */
export interface UpdateClaim {
  readonly updateId: UpdateId;
  readonly planId: string;
  readonly baseVersion: number;
  readonly samples: number;
  readonly localSteps: number;
  readonly loss: number;
}

/** What the coordinator knows of the cohort it names. */
export interface CohortFacts {
  readonly planId: string;
  /** The cohort learned by that plan once. */
  isLeft(plan: string): boolean;
  readonly championVersion: number;
  /** Versions of this plan that an agent may have trained from, whether they are still champion or not. */
  isKnownBase(version: number): boolean;
  /** An operator went back behind `version`. */
  isRolledBack(version: number): boolean;
  /** Champions promoted after `version`. */
  championsSince(version: number): number;
  readonly maxStaleness: number;
}

/** A malformed update changes nothing; a well-formed one that policy refuses is recorded with its reason. */
export type Refusal = {
  readonly kind: "malformed" | "refused";
  readonly reason:
    | "unknown_plan"
    | "plan_left"
    | "unknown_base"
    | "bad_samples"
    | "bad_steps"
    | "bad_loss"
    | "wrong_encoding"
    | "undecodable_delta"
    | "invalid_trees"
    | "stale_base"
    | "rolled_back_base"
    | "norm_too_large"
    | "not_invited"
    | "round_not_open"
    | "too_many_samples";
  readonly message: string;
};

const MAX_SAMPLES_AN_UPDATE = 1_000_000;
/** A delta of this L2 norm is far beyond what one training of normalised features can move. */
const MAX_DELTA_NORM = 100;

const malformed = (reason: Refusal["reason"], message: string): Refusal => ({ kind: "malformed", reason, message });

export function checkClaim(claim: UpdateClaim, cohort: CohortFacts): Refusal | null {
  if (cohort.isLeft(claim.planId)) {
    return malformed("plan_left", `the cohort has left plan ${claim.planId}; it learns by ${cohort.planId}`);
  }
  if (claim.planId !== cohort.planId) {
    return malformed("unknown_plan", `plan ${claim.planId.slice(0, 64)}, but the cohort learns by ${cohort.planId}`);
  }
  if (!cohort.isKnownBase(claim.baseVersion)) {
    return malformed("unknown_base", `base version ${claim.baseVersion}; the champion is ${cohort.championVersion}`);
  }
  if (!Number.isSafeInteger(claim.samples) || claim.samples < 1 || claim.samples > MAX_SAMPLES_AN_UPDATE) {
    return malformed("bad_samples", `${claim.samples} samples; allowed are 1 to ${MAX_SAMPLES_AN_UPDATE}`);
  }
  if (!Number.isSafeInteger(claim.localSteps) || claim.localSteps < 0) {
    return malformed("bad_steps", `${claim.localSteps} local steps; allowed are 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  if (!Number.isFinite(claim.loss)) return malformed("bad_loss", `loss ${claim.loss} is not a finite number`);
  if (cohort.isRolledBack(claim.baseVersion)) {
    const message = `base version ${claim.baseVersion} was rolled back; the champion is ${cohort.championVersion}`;
    return { kind: "refused", reason: "rolled_back_base", message };
  }
  const staleness = cohort.championsSince(claim.baseVersion);
  if (staleness > cohort.maxStaleness) {
    const message = `base version ${claim.baseVersion} is ${staleness} champions old; allowed are ${cohort.maxStaleness}`;
    return { kind: "refused", reason: "stale_base", message };
  }
  return null;
}

/**
 * Of a delta as it travels. A step is bounded by its norm, which says nothing of a forest: its trees must be such as can be
 * grown. Throws UndecodableDeltaError.
 */
export function checkDelta(manifest: Manifest, bytes: Uint8Array): Refusal | null {
  const { weights, training } = manifest;
  const shape = forestShape(manifest);
  if (shape === null) return checkNorm(deltaNorm(training.codec, bytes, weights));
  try {
    unpackForest(decodeDelta(training.codec, bytes, weights), shape);
    return null;
  } catch (error) {
    if (error instanceof InvalidTreesError) return malformed("invalid_trees", error.message);
    throw error;
  }
}

/** `norm`: the delta's 2-norm. */
export function checkNorm(norm: number): Refusal | null {
  if (norm <= MAX_DELTA_NORM) return null;
  return { kind: "refused", reason: "norm_too_large", message: `delta norm ${norm}; allowed is ${MAX_DELTA_NORM}` };
}

/** Whether the update answers the open invitation of a synchronous cohort. `roundId` 0: the gateway trained by itself. */
export function checkAnswer(roundId: number, gateway: GatewayId, open: Invitation | null): Refusal | null {
  const refused = (reason: Refusal["reason"], message: string): Refusal => ({ kind: "refused", reason, message });
  if (roundId === 0) return refused("not_invited", "the cohort's gateways train when they are invited");
  if (open === null || open.roundId !== roundId) {
    return refused("round_not_open", `round ${roundId}; open is ${open === null ? "none" : `round ${open.roundId}`}`);
  }
  if (open.gateways.includes(gateway)) return null;
  return refused("not_invited", `gateway ${gateway} was not invited to round ${roundId}`);
}
