// A cohort's plan as a simulated gateway needs it: its codec, and a few deltas that are valid in it.
import type { Plan } from "../../agent/ports/plan.ts";
import { encodeDelta } from "../../learning/codecs/codec.ts";
import type { PlanId } from "../../learning/ids.ts";
import { type DeltaCodec, weightCount } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";

/** Enough that neither end meets the same bytes all the time. */
const DELTAS = 16;
/** Standard deviation of a delta's values: a training of normalised features moves weights by about that. */
const SPREAD = 1e-3;

export interface MadePlan {
  readonly planId: PlanId;
  readonly parameters: number;
  readonly encoding: DeltaCodec["kind"];
  readonly deltas: readonly Uint8Array[];
}

export function madePlan({ planId, manifest }: Plan, seed: number): MadePlan {
  const { weights, training } = manifest;
  const parameters = weightCount(weights);
  const random = seededRandom(seed);
  const none = new Float32Array(parameters);
  const deltas = Array.from({ length: DELTAS }, () => {
    const delta = Float32Array.from({ length: parameters }, () => SPREAD * random.normal());
    return encodeDelta(training.codec, delta, weights, none).bytes;
  });
  return { planId, parameters, encoding: training.codec.kind, deltas };
}
