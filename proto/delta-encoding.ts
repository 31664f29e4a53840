// What a plan's codec is called on the wire.
import type { DeltaCodec } from "../learning/plan.ts";
import { DeltaEncoding } from "./gen/flead/v1/federation.ts";

export const DELTA_ENCODING: Readonly<Record<DeltaCodec["kind"], DeltaEncoding>> = {
  float32: DeltaEncoding.FLOAT32,
  float16: DeltaEncoding.FLOAT16,
  int8: DeltaEncoding.INT8,
  top_k: DeltaEncoding.TOP_K,
  top_k_int8: DeltaEncoding.TOP_K_INT8,
};
