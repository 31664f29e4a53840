// What a plan costs, and whether its graphs compute what they should: in float64, and in onnxruntime as on a gateway.
import { checkGradient, EXAMPLE_STEP, exampleInputs, type GradientCheck, largestOf } from "../learning/check-plan.ts";
import { encodeDelta } from "../learning/codecs/codec.ts";
import { type CompiledPlan, compilePlan } from "../learning/compile-plan.ts";
import { historyValues } from "../learning/front-end.ts";
import { interpret, type Tensor } from "../learning/graph/interpret.ts";
import { BASE, momentNames, nextName, WEIGHTS } from "../learning/models/signature.ts";
import { rowsToCalibrate } from "../learning/monitor.ts";
import type { Manifest, PlanSettings } from "../learning/plan.ts";
import { encodeOnnx } from "../proto/onnx.ts";
import { encodeBundle } from "../proto/plan-bundle.ts";
import { PlanModel, type TrainedStep, type TrainingBatch, type TrainingPoint } from "../runtime/plan-model.ts";

const SEED = 1;
/** Few, for the check is of formulas; odd, so that a mixed-up axis shows. */
const CHECK_ROWS = 5;
const CHECKED_PARAMETERS = 48;
/** Of a derivative: finite differences are good to about 1e-7 of it. */
export const GRADIENT_TOLERANCE = 1e-4;
/** Of a tensor's largest value: float32 is good to about 1e-7, sums over a layer to less. */
export const STEP_TOLERANCE = 1e-4;

export interface PlanReport {
  readonly planId: string;
  readonly parameters: number;
  readonly features: number;
  readonly bundleBytes: number;
  /** Of the delta that one step makes. */
  readonly updateBytes: number;
  /** Of a device's calibration rows and of the readings its features look back at. */
  readonly deviceBytes: number;
  /** Of a new device. */
  readonly rowsBeforeVerdict: number;
  readonly gradient: GradientCheck;
  /** Largest difference of the step in onnxruntime, as a share of the tensor's largest value. */
  readonly stepError: number;
  /** Medians, in microseconds. */
  readonly stepUs: number;
  readonly scoreUs: { readonly oneRow: number; readonly thousandRows: number };
}

/** Throws ModelError, PlanBundleError or what onnxruntime says when the plan cannot be built or run. */
export async function inspectPlan(settings: PlanSettings): Promise<PlanReport> {
  const plan = compilePlan(settings);
  const { planId, bytes } = encodeBundle(plan);
  const example = exampleOf(plan, CHECK_ROWS);
  const checked = { ...plan, layout: plan.manifest.weights };
  const gradient = checkGradient(checked, example.inputs, CHECKED_PARAMETERS, SEED);
  const model = await PlanModel.load({
    manifest: plan.manifest,
    scoreOnnx: encodeOnnx(plan.score),
    trainOnnx: encodeOnnx(plan.train),
  });
  try {
    const step = await model.train(example.point, example.batch, example.learningRate);
    return {
      planId,
      parameters: plan.initialWeights.length,
      features: plan.manifest.featureCount,
      bundleBytes: bytes.length,
      updateBytes: updateBytes(plan, example.point.weights, step.weights),
      deviceBytes: deviceBytes(plan.manifest),
      rowsBeforeVerdict: rowsToCalibrate(plan.manifest),
      gradient,
      stepError: differenceOf(step, interpret(plan.train, example.inputs)),
      ...(await timesOf(plan, model)),
    };
  } finally {
    await model.release();
  }
}

const deviceBytes = (manifest: Manifest) =>
  Float32Array.BYTES_PER_ELEMENT * manifest.threshold.rows * manifest.featureCount +
  Float64Array.BYTES_PER_ELEMENT * historyValues(manifest);

/** The example's inputs for the interpreter, and the same for onnxruntime. */
function exampleOf(plan: CompiledPlan, rows: number) {
  const inputs = exampleInputs(plan.train, plan.initialWeights, rows, SEED);
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

function updateBytes({ manifest }: CompiledPlan, before: Float32Array, after: Float32Array): number {
  const delta = after.map((weight, at) => weight - Number(before[at]));
  return encodeDelta(manifest.training.codec, delta, manifest.weights, new Float32Array(delta.length)).bytes.length;
}

async function timesOf(plan: CompiledPlan, model: PlanModel): Promise<Pick<PlanReport, "stepUs" | "scoreUs">> {
  const { featureCount, training } = plan.manifest;
  const { point, batch, learningRate } = exampleOf(plan, training.batchRows);
  const rows = exampleInputs(plan.train, plan.initialWeights, 1000, SEED).x?.data ?? [];
  const x = Float32Array.from(rows);
  const scoring = (count: number) => () => model.score(point.weights, x.subarray(0, count * featureCount), count);
  return {
    stepUs: await medianUs(() => model.train(point, batch, learningRate)),
    scoreUs: { oneRow: await medianUs(scoring(1)), thousandRows: await medianUs(scoring(1000)) },
  };
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
