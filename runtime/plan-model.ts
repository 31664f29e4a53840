// Runs a plan's two graphs with onnxruntime on one thread; the weights stay one flat vector that the tensors look into.
import * as ort from "onnxruntime-node";
import { nextName } from "../learning/models/train-step.ts";
import { type Manifest, weightCount } from "../learning/plan.ts";

export interface PlanGraphs {
  readonly manifest: Manifest;
  readonly scoreOnnx: Uint8Array;
  readonly trainOnnx: Uint8Array;
}

export interface Scores {
  /** One a row. */
  readonly scores: Float32Array;
  /** Squared errors, row-major, as many columns as the manifest has residualChannels. */
  readonly residuals: Float32Array;
}

export interface TrainedStep {
  readonly loss: number;
  readonly weights: Float32Array;
}

const MAX_ROWS_A_RUN = 1000; // bounds the memory of one run
const FATAL = 4;

const SESSION_OPTIONS: ort.InferenceSession.SessionOptions = {
  executionProviders: ["cpu"],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  graphOptimizationLevel: "all",
  logSeverityLevel: FATAL, // what is wrong comes as an exception, not on standard error
};
const RUN_OPTIONS: ort.InferenceSession.RunOptions = { logSeverityLevel: FATAL };

/** Calls may overlap. What a call is given must not change until it resolves; what it returns belongs to the caller. */
export class PlanModel {
  readonly #manifest: Manifest;
  readonly #score: ort.InferenceSession;
  readonly #train: ort.InferenceSession;
  readonly #weightCount: number;

  private constructor(manifest: Manifest, score: ort.InferenceSession, train: ort.InferenceSession) {
    this.#manifest = manifest;
    this.#score = score;
    this.#train = train;
    this.#weightCount = weightCount(manifest.weights);
  }

  static async load({ manifest, scoreOnnx, trainOnnx }: PlanGraphs): Promise<PlanModel> {
    const score = await ort.InferenceSession.create(scoreOnnx, SESSION_OPTIONS);
    try {
      return new PlanModel(manifest, score, await ort.InferenceSession.create(trainOnnx, SESSION_OPTIONS));
    } catch (error) {
      await score.release();
      throw error;
    }
  }

  /** `x`: `rows` feature rows, row-major. Throws RangeError if a length does not fit the plan. */
  async score(weights: Float32Array, x: Float32Array, rows: number): Promise<Scores> {
    this.#checkLengths(weights, x, rows);
    const { featureCount, residualChannels } = this.#manifest;
    const columns = residualChannels.length;
    const scores = new Float32Array(rows);
    const residuals = new Float32Array(rows * columns);
    const weightFeeds = this.#weightFeeds(weights);
    for (let from = 0; from < rows; from += MAX_ROWS_A_RUN) {
      const count = Math.min(MAX_ROWS_A_RUN, rows - from);
      const feeds = { x: view(x, from * featureCount, [count, featureCount]), ...weightFeeds };
      const { score, residual } = await this.#score.run(feeds, RUN_OPTIONS);
      scores.set(floats(score), from);
      residuals.set(floats(residual), from * columns);
    }
    return { scores, residuals };
  }

  /** One step of gradient descent over all `rows` at once. Throws RangeError if a length does not fit the plan. */
  async train(weights: Float32Array, x: Float32Array, rows: number, learningRate: number): Promise<TrainedStep> {
    this.#checkLengths(weights, x, rows);
    const feeds = {
      x: view(x, 0, [rows, this.#manifest.featureCount]),
      lr: new ort.Tensor("float32", [learningRate], []),
      ...this.#weightFeeds(weights),
    };
    const { loss, ...tensors } = await this.#train.run(feeds, RUN_OPTIONS);
    const next = new Float32Array(weights.length);
    for (const { name, offset } of this.#manifest.weights) next.set(floats(tensors[nextName(name)]), offset);
    return { loss: floats(loss)[0] as number, weights: next };
  }

  /** Frees the native memory; the model is of no use afterwards. */
  async release(): Promise<void> {
    await this.#score.release();
    await this.#train.release();
  }

  /** The tensors of the plan's layout as windows on `flat`: nothing is copied. */
  #weightFeeds(flat: Float32Array): Record<string, ort.Tensor> {
    return Object.fromEntries(
      this.#manifest.weights.map(({ name, shape, offset }) => [name, view(flat, offset, shape)]),
    );
  }

  #checkLengths(weights: Float32Array, x: Float32Array, rows: number): void {
    const { featureCount } = this.#manifest;
    if (!Number.isInteger(rows) || rows < 1) throw new RangeError(`${rows} rows; at least one is needed`);
    if (x.length !== rows * featureCount) {
      throw new RangeError(`${x.length} values are not ${rows} rows of ${featureCount} features`);
    }
    if (weights.length !== this.#weightCount) {
      throw new RangeError(`${weights.length} weights; the plan has ${this.#weightCount}`);
    }
  }
}

function view(flat: Float32Array, offset: number, shape: readonly number[]): ort.Tensor {
  const length = shape.reduce((product, size) => product * size, 1);
  return new ort.Tensor("float32", flat.subarray(offset, offset + length), shape);
}

function floats(tensor: ort.Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array))
    throw new TypeError("the graph lacks a float output that a plan must have");
  return tensor.data;
}
