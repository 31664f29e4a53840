// Sessions of onnxruntime on one thread: a gateway has other work.
import * as ort from "onnxruntime-node";

const FATAL = 4;

const OPTIONS: ort.InferenceSession.SessionOptions = {
  executionProviders: ["cpu"],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  logSeverityLevel: FATAL, // of its runs too: what is wrong comes as an exception, not on standard error
};

export const openSession = (onnx: Uint8Array): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(onnx, OPTIONS);

export const floatTensor = (values: Float32Array, shape: readonly number[]) => new ort.Tensor("float32", values, shape);

/** Throws TypeError for an output that is not there or holds no float32. */
export function floats(tensor: ort.Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array))
    throw new TypeError("the graph lacks a float output that a plan must have");
  return tensor.data;
}
