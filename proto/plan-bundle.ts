// A plan as one artifact that is known by the SHA-256 of its bytes.
import { createHash } from "node:crypto";
import type { CompiledPlan } from "../learning/compile-plan.ts";
import { type ForestShape, forestShape, unpackForest } from "../learning/forest-weights.ts";
import { planId as checkedPlanId, type PlanId } from "../learning/ids.ts";
import { scoreSignature, trainSignature, WEIGHTS } from "../learning/models/signature.ts";
import { type Manifest, type PlanGraphs, weightCount } from "../learning/plan.ts";
import { encodeForest } from "./forest-onnx.ts";
import { PlanBundle as BundleMessage } from "./gen/flead/v1/plan.ts";
import { MAX_BUNDLE_BYTES } from "./limits.ts";
import { checkOnnx, encodeOnnx, fixInput } from "./onnx.ts";
import { describeFaults, manifestSchema } from "./plan-schema.ts";
import { decodeWeights, encodeWeights } from "./weights.ts";

export interface PlanBundle extends PlanGraphs {
  readonly planId: PlanId;
  readonly manifest: Manifest;
  readonly initialWeights: Float32Array;
}

export class PlanBundleError extends Error {
  constructor(message: string, cause?: unknown) {
    super(`plan bundle: ${message}`, { cause });
    this.name = "PlanBundleError";
  }
}

/** The same plan gives the same bytes, whatever the order of its keys. Throws PlanBundleError for one nobody would accept. */
export function encodeBundle(plan: CompiledPlan): { planId: PlanId; bytes: Uint8Array } {
  const bytes = BundleMessage.encode({
    manifestJson: Buffer.from(canonicalJson(plan.manifest)),
    scoreOnnx: Buffer.from(plan.graphs === null ? [] : encodeOnnx(plan.graphs.score)),
    trainOnnx: Buffer.from(plan.graphs === null ? [] : encodeOnnx(plan.graphs.train)),
    initialWeights: Buffer.from(encodeWeights(plan.initialWeights)),
  }).finish();
  const planId = hashOf(bytes);
  decodeBundle(bytes, planId);
  return { planId, bytes };
}

/** `bytes` are untrusted. Throws PlanBundleError, and nothing else, unless every part is what `planId` and FLEAD promise. */
export function decodeBundle(bytes: Uint8Array, planId: PlanId): PlanBundle {
  if (bytes.byteLength > MAX_BUNDLE_BYTES) {
    throw new PlanBundleError(`${bytes.byteLength} bytes; at most ${MAX_BUNDLE_BYTES} are allowed`);
  }
  const hash = hashOf(bytes);
  if (hash !== planId) throw new PlanBundleError(`its SHA-256 is ${hash}, not ${planId}: damaged or not this plan`);
  const message = part("its frame", () => BundleMessage.decode(bytes));
  const manifest = part("manifest", () => readManifest(message.manifestJson));
  const initialWeights = part("initial weights", () =>
    decodeWeights(message.initialWeights, weightCount(manifest.weights)),
  );
  const shape = forestShape(manifest);
  const graphs = shape === null ? decodeGraphs(message, manifest) : forestGraphs(message, shape, initialWeights);
  return { planId, manifest, ...graphs, initialWeights };
}

function decodeGraphs({ scoreOnnx, trainOnnx }: BundleMessage, manifest: Manifest): PlanGraphs {
  part("score graph", () => checkOnnx(scoreOnnx, scoreSignature(manifest)));
  part("train graph", () => checkOnnx(trainOnnx, trainSignature(manifest)));
  return { scoreOnnx, trainOnnx };
}

function forestGraphs(given: BundleMessage, shape: ForestShape, initialWeights: Float32Array): PlanGraphs {
  if (given.scoreOnnx.length > 0 || given.trainOnnx.length > 0)
    throw new PlanBundleError("a forest's plan holds no graph: its weights are its graph");
  part("initial weights", () => unpackForest(initialWeights, shape));
  return { scoreOnnx: (weights) => encodeForest(unpackForest(weights, shape)), trainOnnx: null };
}

/**
 * The score graph with `weights` in it, which takes feature rows alone: `x`, and of a forest `z`. Throws OnnxError, and of a
 * forest what its weights throw, for weights that are not the plan's.
 */
export function scoreModel({ scoreOnnx }: Pick<PlanBundle, "scoreOnnx">, weights: Float32Array): Uint8Array {
  return typeof scoreOnnx === "function" ? scoreOnnx(weights) : fixInput(scoreOnnx, WEIGHTS, weights);
}

function hashOf(bytes: Uint8Array): PlanId {
  return checkedPlanId(createHash("sha256").update(bytes).digest("hex"));
}

/** Names the part that a fault is in. */
function part<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new PlanBundleError(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}

function readManifest(json: Uint8Array): Manifest {
  const parsed = manifestSchema.safeParse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json)));
  if (!parsed.success) throw new Error(describeFaults(parsed.error));
  return parsed.data;
}

/** JSON without white space, keys sorted. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
