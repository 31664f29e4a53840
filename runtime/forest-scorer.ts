// Scores by forests, each of which is a graph of its own: onnxruntime's TreeEnsembleRegressor (proto/forest-onnx.ts).
import type { InferenceSession } from "onnxruntime-node";
import { floats, floatTensor, openSession } from "./onnx-session.ts";

const MAX_ROWS_A_RUN = 50; // beyond it the operator walks tree by tree, and is slower
/** A champion's session, and that of a candidate or of trees just grown beside it. */
const MAX_OPEN = 2;

/**
 * Calls may overlap. Weights are known by their array, which must not change; a session that is let go is freed when the
 * last call in it ends.
 */
export class ForestScorer {
  readonly #onnxOf: (weights: Float32Array) => Uint8Array;
  readonly #features: number;
  #open: readonly OpenForest[] = [];

  /** `onnxOf`: the graph of the forest that the weights are. */
  constructor(onnxOf: (weights: Float32Array) => Uint8Array, features: number) {
    this.#onnxOf = onnxOf;
    this.#features = features;
  }

  /**
   * One score for each row of `x` [rows, features], which must not change until it resolves: 2^(−E[h] / c), to within 1e-6
   * of the same trees' in typed arrays. Throws what `onnxOf` throws.
   */
  async score(weights: Float32Array, x: Float32Array): Promise<Float32Array> {
    return this.#forest(weights).use(async (session) => {
      const rows = x.length / this.#features;
      const scores = new Float32Array(rows);
      for (let from = 0; from < rows; from += MAX_ROWS_A_RUN) {
        const count = Math.min(MAX_ROWS_A_RUN, rows - from);
        const chunk = x.subarray(from * this.#features, (from + count) * this.#features);
        const { score } = await session.run({ z: floatTensor(chunk, [count, this.#features]) }, ["score"]);
        scores.set(floats(score), from);
      }
      return scores;
    });
  }

  /** Frees the native memory; the scorer is of no use afterwards. */
  async release(): Promise<void> {
    const open = this.#open;
    this.#open = [];
    await Promise.all(open.map((forest) => forest.letGo()));
  }

  #forest(weights: Float32Array): OpenForest {
    const known = this.#open.find((forest) => forest.weights === weights);
    const forest = known ?? new OpenForest(weights, this.#onnxOf(weights));
    const open = [forest, ...this.#open.filter((other) => other !== forest)];
    this.#open = open.slice(0, MAX_OPEN);
    for (const other of open.slice(MAX_OPEN)) void other.letGo();
    return forest;
  }
}

class OpenForest {
  readonly weights: Float32Array;
  readonly #session: Promise<InferenceSession>;
  readonly #calls = new Set<Promise<unknown>>();

  constructor(weights: Float32Array, onnx: Uint8Array) {
    this.weights = weights;
    this.#session = openSession(onnx);
  }

  use<Result>(work: (session: InferenceSession) => Promise<Result>): Promise<Result> {
    const call = this.#session.then(work);
    this.#calls.add(call);
    const ended = () => this.#calls.delete(call);
    call.then(ended, ended);
    return call;
  }

  /** Never rejects: a session that could not be opened holds nothing. */
  async letGo(): Promise<void> {
    await Promise.allSettled(this.#calls);
    const session = await this.#session.catch(() => null);
    await session?.release();
  }
}
