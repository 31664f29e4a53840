// Runs a plan's graphs with onnxruntime on one thread.
import type * as ort from "onnxruntime-node";
import { BASE, momentNames, nextName, takesLabels, WEIGHTS } from "../learning/models/signature.ts";
import { type Manifest, type PlanGraphs, weightCount } from "../learning/plan.ts";
import { ForestScorer } from "./forest-scorer.ts";
import { floats, floatTensor, openSession } from "./onnx-session.ts";

export interface Scores {
  /** One a row. */
  readonly scores: Float32Array;
  /** What the scores come from, row-major, as many columns as the manifest has residualChannels. */
  readonly residuals: Float32Array;
}

/** What an optimiser remembers from step to step. */
export interface OptimiserState {
  /** Steps taken. */
  readonly steps: number;
  /** Vectors [P] by the name of the graph's input. */
  readonly moments: Readonly<Record<string, Float32Array>>;
}

/** Where a step starts. */
export interface TrainingPoint {
  /** [P] */
  readonly weights: Float32Array;
  readonly state: OptimiserState;
}

export interface TrainingBatch {
  /** `rows` feature rows, row-major. */
  readonly x: Float32Array;
  /** Labels, 0 or 1, one a row: for a classifier, and no other model. */
  readonly y: Float32Array | null;
  readonly rows: number;
}

export interface TrainedStep extends TrainingPoint {
  /** Before the step, penalties included. */
  readonly loss: number;
}

/** Of a training's beginning. */
export function initialOptimiserState({ training, weights }: Manifest): OptimiserState {
  const zeros = momentNames(training.optimiser).map((name) => [name, new Float32Array(weightCount(weights))] as const);
  return { steps: 0, moments: Object.fromEntries(zeros) };
}

const MAX_ROWS_A_RUN = 1000; // bounds the memory of one run

/** Calls may overlap. What a call is given must not change until it resolves; what it returns belongs to the caller. */
export class PlanModel {
  readonly #manifest: Manifest;
  readonly #score: ort.InferenceSession | ForestScorer;
  readonly #train: ort.InferenceSession | null;
  readonly #weightCount: number;
  /** Inputs of the train graph. */
  readonly #moments: readonly string[];

  private constructor(
    manifest: Manifest,
    score: ort.InferenceSession | ForestScorer,
    train: ort.InferenceSession | null,
  ) {
    this.#manifest = manifest;
    this.#score = score;
    this.#train = train;
    this.#weightCount = weightCount(manifest.weights);
    this.#moments = momentNames(manifest.training.optimiser);
  }

  static async load({
    manifest,
    scoreOnnx,
    trainOnnx,
  }: PlanGraphs & { readonly manifest: Manifest }): Promise<PlanModel> {
    const score =
      typeof scoreOnnx === "function"
        ? new ForestScorer(scoreOnnx, manifest.featureCount)
        : await openSession(scoreOnnx);
    try {
      return new PlanModel(manifest, score, trainOnnx && (await openSession(trainOnnx)));
    } catch (error) {
      await score.release();
      throw error;
    }
  }

  /**
   * `x`: `rows` feature rows, row-major. A forest's residuals are the features' squares: how far each is from the device's
   * reference, for which splits shortened a path is not told. Throws RangeError if a length does not fit the plan, and
   * InvalidTreesError for weights that are no forest of a forest's plan.
   */
  async score(weights: Float32Array, x: Float32Array, rows: number): Promise<Scores> {
    this.#checkRows(x, rows);
    const session = this.#score;
    if (session instanceof ForestScorer)
      return { scores: await session.score(weights, x), residuals: x.map((value) => value * value) };
    const { featureCount, residualChannels } = this.#manifest;
    const columns = residualChannels.length;
    const scores = new Float32Array(rows);
    const residuals = new Float32Array(rows * columns);
    const weightFeed = this.#vector(weights);
    for (let from = 0; from < rows; from += MAX_ROWS_A_RUN) {
      const count = Math.min(MAX_ROWS_A_RUN, rows - from);
      const chunk = x.subarray(from * featureCount, (from + count) * featureCount);
      const feeds = { x: floatTensor(chunk, [count, featureCount]), [WEIGHTS]: weightFeed };
      const { score, residual } = await session.run(feeds);
      scores.set(floats(score), from);
      residuals.set(floats(residual), from * columns);
    }
    return { scores, residuals };
  }

  /**
   * One step over all rows of `batch` at once. `base`: the weights that a plan's proximal term holds on to. Throws
   * RangeError if a length does not fit the plan, or labels are missing or too many.
   */
  async train(
    { weights, state, base }: TrainingPoint & { readonly base: Float32Array },
    batch: TrainingBatch,
    learningRate: number,
  ): Promise<TrainedStep> {
    if (this.#train === null) throw new Error("a forest is grown, not descended");
    const steps = state.steps + 1;
    const feeds: Record<string, ort.Tensor> = {
      ...this.#batchFeeds(batch),
      lr: scalar(learningRate),
      [WEIGHTS]: this.#vector(weights),
    };
    for (const name of this.#moments) feeds[name] = this.#vector(state.moments[name]);
    if (this.#manifest.training.optimiser.kind === "adam") feeds.step = scalar(steps);
    if (this.#manifest.training.proximal > 0) feeds[BASE] = this.#vector(base);
    const outputs = await this.#train.run(feeds);
    const next = (name: string) => floats(outputs[nextName(name)]);
    return {
      loss: floats(outputs.loss)[0] as number,
      weights: next(WEIGHTS),
      state: { steps, moments: Object.fromEntries(this.#moments.map((name) => [name, next(name)])) },
    };
  }

  /** Frees the native memory; the model is of no use afterwards. */
  async release(): Promise<void> {
    await this.#score.release();
    await this.#train?.release();
  }

  #batchFeeds({ x, y, rows }: TrainingBatch): Record<string, ort.Tensor> {
    this.#checkRows(x, rows);
    const feeds = { x: floatTensor(x, [rows, this.#manifest.featureCount]) };
    const wanted = takesLabels(this.#manifest) ? rows : null;
    if ((y?.length ?? null) !== wanted)
      throw new RangeError(
        `${y?.length ?? "no"} labels for ${rows} rows; a ${this.#manifest.model.kind} takes ${wanted ?? "none"}`,
      );
    return y === null ? feeds : { ...feeds, y: floatTensor(y, [rows]) };
  }

  #checkRows(x: Float32Array, rows: number): void {
    const { featureCount } = this.#manifest;
    if (!Number.isInteger(rows) || rows < 1) throw new RangeError(`${rows} rows; at least one is needed`);
    if (x.length !== rows * featureCount) {
      throw new RangeError(`${x.length} values are not ${rows} rows of ${featureCount} features`);
    }
  }

  /** A vector with a value for each weight. */
  #vector(values: Float32Array | undefined): ort.Tensor {
    if (values?.length !== this.#weightCount) {
      throw new RangeError(`${values?.length ?? "no"} weights; the plan has ${this.#weightCount}`);
    }
    return floatTensor(values, [this.#weightCount]);
  }
}

const scalar = (value: number) => floatTensor(Float32Array.of(value), []);
