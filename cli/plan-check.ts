// What a plan costs, and whether its graphs compute what they should: in float64, and in onnxruntime as on a gateway.
import {
  checkGradient,
  EXAMPLE_STEP,
  exampleInputs,
  type GradientCheck,
  largestOf,
  rowsOfChance,
} from "../learning/check-plan.ts";
import { encodeDelta } from "../learning/codecs/codec.ts";
import { type CompiledGraphs, type CompiledPlan, compilePlan } from "../learning/compile-plan.ts";
import { firstTuned } from "../learning/fine-tuning.ts";
import { forestShape, packForest } from "../learning/forest-weights.ts";
import { historyValues } from "../learning/front-end.ts";
import { interpret, type Tensor } from "../learning/graph/interpret.ts";
import { growTrees } from "../learning/grow-trees.ts";
import { BASE, momentNames, nextName, WEIGHTS } from "../learning/models/signature.ts";
import { rowsToCalibrate } from "../learning/monitor.ts";
import { type Manifest, type PlanSettings, weightCount } from "../learning/plan.ts";
import { seededRandom } from "../learning/random.ts";
import { decodeBundle, encodeBundle } from "../proto/plan-bundle.ts";
import { PlanModel, type TrainedStep, type TrainingBatch, type TrainingPoint } from "../runtime/plan-model.ts";

const SEED = 1;
/** Few, for the check is of formulas; odd, so that a mixed-up axis shows. */
const CHECK_ROWS = 5;
const CHECKED_PARAMETERS = 48;
/** Of a derivative: finite differences are good to about 1e-7 of it. */
export const GRADIENT_TOLERANCE = 1e-4;
/** Of a tensor's largest value: float32 is good to about 1e-7, sums over a layer to less. */
export const STEP_TOLERANCE = 1e-4;

/** Of one training step. */
interface DescentReport {
  readonly kind: "descent";
  readonly gradient: GradientCheck;
  /** Largest difference of the step in onnxruntime, as a share of the tensor's largest value. */
  readonly stepError: number;
  /** Median, in microseconds. */
  readonly stepUs: number;
}

/** Of a whole training, from as many rows as a device keeps. */
interface GrowthReport {
  readonly kind: "growth";
  readonly rows: number;
  /** Median, in microseconds. */
  readonly growUs: number;
}

export interface PlanReport {
  readonly planId: string;
  readonly parameters: number;
  /** Of them those that a gateway fine-tunes to its own rows; null: none, the plan wants none. */
  readonly tuned: { readonly parameters: number; readonly tensors: readonly string[] } | null;
  readonly features: number;
  readonly bundleBytes: number;
  /** Of the delta that one step makes, or of the trees that are grown. */
  readonly updateBytes: number;
  /** Of a device's calibration rows and of the readings its features look back at. */
  readonly deviceBytes: number;
  /** Of a new device. */
  readonly rowsBeforeVerdict: number;
  readonly training: DescentReport | GrowthReport;
  /** Medians, in microseconds. */
  readonly scoreUs: { readonly oneRow: number; readonly thousandRows: number };
}

/** Throws ModelError, PlanBundleError or what onnxruntime says when the plan cannot be built or run. */
export async function inspectPlan(settings: PlanSettings): Promise<PlanReport> {
  const plan = compilePlan(settings);
  const { planId, bytes } = encodeBundle(plan);
  const model = await PlanModel.load(decodeBundle(bytes, planId));
  try {
    const { weights, delta, training } =
      plan.graphs === null ? await inspectGrowth(plan) : await inspectDescent(plan, plan.graphs, model);
    return {
      planId,
      parameters: plan.initialWeights.length,
      tuned: tunedOf(plan.manifest),
      features: plan.manifest.featureCount,
      bundleBytes: bytes.length,
      updateBytes: updateBytes(plan, delta),
      deviceBytes: deviceBytes(plan.manifest),
      rowsBeforeVerdict: rowsToCalibrate(plan.manifest),
      training,
      scoreUs: await scoreTimes(plan.manifest, model, weights),
    };
  } finally {
    await model.release();
  }
}

/** A training of the plan on rows of chance. */
interface Inspected {
  /** To score with. */
  readonly weights: Float32Array;
  /** What its update says. */
  readonly delta: Float32Array;
  readonly training: PlanReport["training"];
}

async function inspectDescent(plan: CompiledPlan, graphs: CompiledGraphs, model: PlanModel): Promise<Inspected> {
  const example = exampleOf(plan, graphs, CHECK_ROWS);
  const checked = { ...plan, ...graphs, layout: plan.manifest.weights };
  const gradient = checkGradient(checked, example.inputs, CHECKED_PARAMETERS, SEED);
  const before = example.point.weights;
  const step = await model.train(example.point, example.batch, example.learningRate);
  const timed = exampleOf(plan, graphs, plan.manifest.training.batchRows);
  return {
    weights: before,
    delta: step.weights.map((weight, at) => weight - Number(before[at])),
    training: {
      kind: "descent",
      gradient,
      stepError: differenceOf(step, interpret(graphs.train, example.inputs)),
      stepUs: await medianUs(() => model.train(timed.point, timed.batch, timed.learningRate)),
    },
  };
}

async function inspectGrowth({ manifest }: CompiledPlan): Promise<Inspected> {
  const shape = forestShape(manifest);
  if (shape === null) throw new Error(`a ${manifest.model.kind} has a graph to descend by`);
  const { rows } = manifest.threshold;
  const x = rowsOfChance(manifest, rows, SEED);
  const grow = () => packForest(growTrees(x, shape.features, shape, seededRandom(SEED)), shape);
  const weights = grow();
  return { weights, delta: weights, training: { kind: "growth", rows, growUs: await medianUs(async () => grow()) } };
}

function tunedOf(manifest: Manifest): PlanReport["tuned"] {
  if (manifest.fineTuning === undefined) return null;
  const from = firstTuned(manifest);
  const moved = manifest.weights.filter(({ offset }) => offset >= from);
  return { parameters: weightCount(moved), tensors: moved.map(({ name }) => name) };
}

const deviceBytes = (manifest: Manifest) =>
  Float32Array.BYTES_PER_ELEMENT * manifest.threshold.rows * manifest.featureCount +
  Float64Array.BYTES_PER_ELEMENT * historyValues(manifest);

/** The example's inputs for the interpreter, and the same for onnxruntime. */
function exampleOf(plan: CompiledPlan, { train }: CompiledGraphs, rows: number) {
  const inputs = exampleInputs(train, plan.initialWeights, rows, SEED);
  const floats = (name: string) => Float32Array.from(inputs[name]?.data ?? []);
  const moments = momentNames(plan.manifest.training.optimiser).map((name) => [name, floats(name)] as const);
  const state = { steps: EXAMPLE_STEP - 1, moments: Object.fromEntries(moments) };
  const point: TrainingPoint & { base: Float32Array } = { weights: floats(WEIGHTS), base: floats(BASE), state };
  const batch: TrainingBatch = { x: floats("x"), y: inputs.y ? floats("y") : null, rows };
  return { inputs, point, batch, learningRate: Number(inputs.lr?.data[0]) };
}

function differenceOf(step: TrainedStep, expected: Readonly<Record<string, Tensor>>): number {
  const found: [string, ArrayLike<number>][] = [
    ["loss", [step.loss]],
    [nextName(WEIGHTS), step.weights],
    ...Object.entries(step.state.moments).map(([name, values]): [string, Float32Array] => [nextName(name), values]),
  ];
  return largestOf(
    found.map(([name, values]) => {
      const wanted = expected[name]?.data ?? new Float64Array(0);
      const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), Number.MIN_VALUE);
      return wanted.reduce((worst, value, at) => Math.max(worst, Math.abs(Number(values[at]) - value) / largest), 0);
    }),
  );
}

function updateBytes({ manifest }: CompiledPlan, delta: Float32Array): number {
  return encodeDelta(manifest.training.codec, delta, manifest.weights, new Float32Array(delta.length)).bytes.length;
}

async function scoreTimes(manifest: Manifest, model: PlanModel, weights: Float32Array): Promise<PlanReport["scoreUs"]> {
  const x = rowsOfChance(manifest, 1000, SEED);
  const scoring = (count: number) => () => model.score(weights, x.subarray(0, count * manifest.featureCount), count);
  return { oneRow: await medianUs(scoring(1)), thousandRows: await medianUs(scoring(1000)) };
}

const MAX_CALLS = 2000;
const MAX_MS = 500;

async function medianUs(once: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  const start = performance.now();
  while (times.length < 3 || (times.length < MAX_CALLS && performance.now() - start < MAX_MS)) {
    const before = performance.now();
    await once();
    times.push((performance.now() - before) * 1000);
  }
  return times.sort((a, b) => a - b)[times.length >> 1] as number;
}
