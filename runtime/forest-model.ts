// Runs an isolation forest's graph with onnxruntime on one thread.
import * as ort from "onnxruntime-node";
import type { IsolationForest } from "../learning/isolation-forest.ts";

const MAX_ROWS_A_RUN = 50; // beyond it the operator walks tree by tree, and is slower
const FATAL = 4;

/** Calls may overlap. What a call is given must not change until it resolves; what it returns belongs to the caller. */
export class ForestModel {
  readonly #forest: IsolationForest;
  readonly #session: ort.InferenceSession;

  private constructor(forest: IsolationForest, session: ort.InferenceSession) {
    this.#forest = forest;
    this.#session = session;
  }

  /** `onnx`: the graph of `forest`'s trees (proto/forest-onnx.ts). */
  static async load(forest: IsolationForest, onnx: Uint8Array): Promise<ForestModel> {
    const session = await ort.InferenceSession.create(onnx, {
      executionProviders: ["cpu"],
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      logSeverityLevel: FATAL, // what is wrong comes as an exception, not on standard error
    });
    return new ForestModel(forest, session);
  }

  /**
   * One score for each row of `x` (channels in their own units, row-major), the forest's own to within 1e-6. Throws
   * RangeError for a broken row.
   */
  async score(x: Float64Array): Promise<Float32Array> {
    const { channels } = this.#forest;
    const z = this.#forest.standardise(x);
    const rows = z.length / channels;
    const scores = new Float32Array(rows);
    for (let from = 0; from < rows; from += MAX_ROWS_A_RUN) {
      const count = Math.min(MAX_ROWS_A_RUN, rows - from);
      const chunk = z.subarray(from * channels, (from + count) * channels);
      const feeds = { z: new ort.Tensor("float32", chunk, [count, channels]) };
      const { score } = await this.#session.run(feeds, ["score"], { logSeverityLevel: FATAL });
      if (!(score?.data instanceof Float32Array))
        throw new TypeError("the graph lacks the score that a forest must have");
      scores.set(score.data, from);
    }
    return scores;
  }

  /** Frees the native memory; the model is of no use afterwards. */
  async release(): Promise<void> {
    await this.#session.release();
  }
}
