// Whole models: their steps against finite differences and the papers' formulas, and what their score graphs compute.
import { expect, test } from "vitest";
import { checkGradient, EXAMPLE_STEP, exampleInputs } from "../../learning/check-plan.ts";
import { partOf } from "../../learning/graph/graph.ts";
import { interpret, type Tensor, tensor } from "../../learning/graph/interpret.ts";
import { buildModel, ModelError } from "../../learning/models/build-model.ts";
import { BASE, momentNames, nextName, WEIGHTS } from "../../learning/models/signature.ts";
import type { ModelSettings, PlanSettings } from "../../learning/plan.ts";
import { buildGraphs, compileGraphs, type DescendedPlan } from "../support/compiled-graphs.ts";
import { expectClose, randomInputs, type Tensors } from "../support/graph-checks.ts";
import { nameOf, OPTIMISERS, PLAN_MIXES, plainPenalty, plainStep } from "../support/plan-mixes.ts";
import { featuresOf, testForecaster, testPlan } from "../support/plan-settings.ts";

const examples = (plan: DescendedPlan, rows = 5) => exampleInputs(plan.train, plan.initialWeights, rows, 3);
const valuesOf = (inputs: Tensors, name: string) => [...(inputs[name]?.data ?? [])];
const gradientOf = (plan: DescendedPlan, inputs: Tensors) =>
  interpret(partOf(plan.train, [plan.gradient]), inputs)[plan.gradient] as Tensor;

test("there are 360 mixes of model, loss, optimiser and penalties", () => {
  expect(new Set(PLAN_MIXES.map((plan) => JSON.stringify(plan))).size).toBe(360);
});

test("in every mix the gradient is what finite differences of the loss say", () => {
  for (const settings of PLAN_MIXES) {
    const plan = compileGraphs(settings);
    const { checked, worst } = checkGradient({ ...plan, layout: plan.manifest.weights }, examples(plan), 12, 4);
    expect(checked).toBeGreaterThanOrEqual(4);
    expect(worst, nameOf(settings)).toBeLessThan(1e-5);
  }
});

test("in every mix the step from there is the one that the papers write", () => {
  for (const settings of PLAN_MIXES) {
    const plan = compileGraphs(settings);
    const inputs = { ...examples(plan), lr: tensor([], [0.25]) };
    const names = momentNames(settings.training.optimiser);
    const from = { weights: valuesOf(inputs, WEIGHTS), moments: names.map((name) => valuesOf(inputs, name)) };
    const gradient = [...gradientOf(plan, inputs).data];
    const norm = Math.hypot(...gradient);
    expect(norm > 0.1 && norm < 1000, `clipping ${norm}`).toBe(true); // the mixes' bounds
    const expected = plainStep(settings.training, from, gradient, { lr: 0.25, step: EXAMPLE_STEP });
    const computed = interpret(plan.train, inputs);
    expectClose(computed[nextName(WEIGHTS)]?.data ?? [], expected.weights, 1e-9);
    for (const [at, name] of names.entries())
      expectClose(computed[nextName(name)]?.data ?? [], expected.moments[at] ?? [], 1e-12);
  }
});

test("in every mix the loss is the data's, the halved squares of matrices and the distance from the base", () => {
  for (const settings of PLAN_MIXES) {
    const plan = compileGraphs(settings);
    const bare = compileGraphs({ ...settings, training: { ...settings.training, l2: 0, proximal: 0 } });
    const inputs = examples(plan);
    const [weights, base] = [valuesOf(inputs, WEIGHTS), valuesOf(inputs, BASE)];
    const penalty = plainPenalty(settings.training, plan.manifest.weights, weights, base);
    const lossOf = ({ train }: DescendedPlan) => interpret(train, inputs).loss?.data[0] as number;
    expectClose([lossOf(plan)], [lossOf(bare) + penalty], 1e-12);
  }
});

test("another value than the gradient does not pass for it", () => {
  const plan = compileGraphs(testPlan);
  const { worst } = checkGradient({ ...plan, gradient: WEIGHTS, layout: plan.manifest.weights }, examples(plan), 12, 4);
  expect(worst).toBeGreaterThan(0.1);
});

test.each(OPTIMISERS)("a step of $kind takes and gives what it asks for and no more", (optimiser) => {
  const { train } = compileGraphs({ ...testPlan, training: { ...testPlan.training, optimiser } });
  const moments = { sgd: [], momentum: ["weights_m"], adam: ["weights_m", "weights_v"] }[optimiser.kind];
  const step = optimiser.kind === "adam" ? ["step"] : [];
  expect(train.inputs.map(({ name }) => name).sort()).toEqual(["lr", ...step, "weights", ...moments, "x"].sort());
  expect(train.outputs.map(({ name }) => name)).toEqual(["loss", ...["weights", ...moments].map(nextName)]);
});

const linear = { ...testForecaster, model: { kind: "dense_forecaster", hidden: [] } } as const;

test("a linear forecaster scores the distance between its prediction and the window's last row", () => {
  const { score, residualChannels } = buildGraphs(linear);
  const given = randomInputs(score, 2, 5);
  const [x, weights] = [given.x?.data, given.weights?.data] as Float64Array[];
  const expected = [0, 1].map((row) =>
    [0, 1, 2].map((channel) => {
      let prediction = weights?.[18 + channel] as number;
      for (let i = 0; i < 6; i++) prediction += (x?.[row * 9 + i] as number) * (weights?.[i * 3 + channel] as number);
      return (prediction - (x?.[row * 9 + 6 + channel] as number)) ** 2;
    }),
  );
  const computed = interpret(score, given);
  expect(residualChannels).toEqual([0, 1, 2]);
  expectClose(computed.residual?.data ?? [], expected.flat(), 1e-12);
  expectClose(
    computed.score?.data ?? [],
    expected.map(([a, b, c]) => Math.sqrt(((a as number) + (b as number) + (c as number)) / 3)),
    1e-12,
  );
});

test("the autoencoder answers for every feature and names its channel", () => {
  const { residualChannels, score } = buildGraphs(testPlan);
  expect(residualChannels).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
  expect(score.outputs).toEqual([
    { name: "score", shape: ["N"] },
    { name: "residual", shape: ["N", 12] },
  ]);
});

test("a score counts as many of the largest residuals as the plan says", () => {
  const { score } = buildGraphs({ ...testPlan, score: { largest: 3, trailingRows: 1 } });
  const { score: scores, residual } = interpret(score, randomInputs(score, 4, 6));
  const expected = [0, 1, 2, 3].map((row) => {
    const largest = [...(residual?.data.slice(row * 12, (row + 1) * 12) ?? [])].sort((a, b) => b - a).slice(0, 3);
    return Math.sqrt(largest.reduce((sum, value) => sum + value, 0) / 3);
  });
  expectClose(scores?.data ?? [], expected, 1e-12);
});

/** The convolutions of one window, from the definition: zeros before the first and after the last row. */
function plainConv(window: readonly number[][], weights: readonly number[], kernel: number, widths: readonly number[]) {
  let [rows, at] = [window, 0];
  for (let layer = 0; layer + 1 < widths.length; layer++) {
    const [inputs, filters] = [widths[layer] as number, widths[layer + 1] as number];
    const from = at;
    const bias = from + kernel * inputs * filters;
    const last = layer + 2 === widths.length;
    const before = rows;
    rows = before.map((_, row) =>
      Array.from({ length: filters }, (_, filter) => {
        let sum = weights[bias + filter] as number;
        for (let tap = 0; tap < kernel; tap++)
          for (let channel = 0; channel < inputs; channel++)
            sum +=
              (before[row + tap - Math.floor(kernel / 2)]?.[channel] ?? 0) *
              (weights[from + (tap * inputs + channel) * filters + filter] as number);
        return last ? sum : Math.tanh(sum);
      }),
    );
    at = bias + filters;
  }
  return rows;
}

test.each([2, 3, 5])("a convolution with a kernel of %d rows is what the definition says", (kernel) => {
  const { score, residualChannels } = buildGraphs({
    ...testPlan,
    features: featuresOf({ kind: "window", rows: 5 }),
    model: { kind: "conv_autoencoder", filters: [4, 2], kernel },
  });
  const given = randomInputs(score, 2, 8);
  const x = valuesOf(given, "x");
  const expected = [0, 1].flatMap((window) => {
    const rows = [0, 1, 2, 3, 4].map((row) => x.slice(window * 15 + row * 3, window * 15 + row * 3 + 3));
    const predicted = plainConv(rows, valuesOf(given, WEIGHTS), kernel, [3, 4, 2, 3]);
    return predicted.flatMap((row, at) => row.map((value, channel) => (value - Number(rows[at]?.[channel])) ** 2));
  });
  expectClose(interpret(score, given).residual?.data ?? [], expected, 1e-12);
  expect(residualChannels).toEqual(Array.from({ length: 15 }, (_, at) => at % 3));
});

const classifier = (hidden: readonly number[]): PlanSettings => ({
  ...testPlan,
  channels: testPlan.channels.slice(0, 2),
  features: featuresOf({ kind: "window", rows: 1 }),
  model: { kind: "classifier", hidden },
  training: { ...testPlan.training, loss: { kind: "cross_entropy" } },
});

test("a logistic classifier's score is a probability, its residual each feature's squared part in the logit", () => {
  const { score, residualChannels } = buildGraphs(classifier([]));
  const inputs = { x: tensor([2, 2], [1, 2, -3, 0.5]), weights: tensor([3], [0.4, -1, 0.2]) };
  const computed = interpret(score, inputs);
  expectClose(computed.score?.data ?? [], [1 / (1 + Math.exp(1.4)), 1 / (1 + Math.exp(1.5))], 1e-12);
  expectClose(computed.residual?.data ?? [], [0.4 ** 2, 2 ** 2, 1.2 ** 2, 0.5 ** 2], 1e-12);
  expect(residualChannels).toEqual([0, 1]);
});

test("a classifier with hidden layers tells how its logit changes with each feature of each row", () => {
  const { score } = buildGraphs(classifier([3]));
  const given = randomInputs(score, 3, 2);
  const scoreAt = (at: number, by: number) => {
    const x = given.x as Tensor;
    const moved = x.data.with(at, Number(x.data[at]) + by);
    const p = interpret(score, { ...given, x: { ...x, data: moved } }).score?.data[Math.floor(at / 2)] as number;
    return Math.log(p / (1 - p));
  };
  const expected = Array.from(given.x?.data ?? [], (value, at) => {
    const slope = (scoreAt(at, 1e-5) - scoreAt(at, -1e-5)) / 2e-5;
    return (value * slope) ** 2;
  });
  expectClose(interpret(score, given).residual?.data ?? [], expected, 1e-7);
});

const crossEntropy = { ...testPlan.training, loss: { kind: "cross_entropy" } } as const;
const convolution: ModelSettings = { kind: "conv_autoencoder", filters: [2], kernel: 3 };

test.each<[string, Partial<PlanSettings>, string]>([
  ["an autoencoder without layers", { model: { kind: "dense_autoencoder", hidden: [] } }, "at least one hidden layer"],
  ["a forecaster over statistics", { model: testForecaster.model }, "exactly one of kind window"],
  ["a convolution over statistics", { model: convolution }, "exactly one of kind window"],
  [
    "a forecaster of a single row",
    { model: testForecaster.model, features: featuresOf({ kind: "window", rows: 1 }) },
    "a window of at least 2 rows",
  ],
  [
    "a kernel longer than the window",
    { model: convolution, features: featuresOf({ kind: "window", rows: 2 }) },
    "a window of at least 3 rows",
  ],
  ["more residuals than there are", { score: { largest: 13, trailingRows: 1 } }, "must be null or 1 to 12"],
  ["an autoencoder's cross-entropy", { training: crossEntropy }, "squared or huber"],
  ["a classifier's squared loss", { model: { kind: "classifier", hidden: [] } }, "of kind cross_entropy"],
  [
    "a classifier's largest residuals",
    { model: { kind: "classifier", hidden: [] }, training: crossEntropy, score: { largest: 1, trailingRows: 1 } },
    "score.largest to be null",
  ],
])("%s is refused", (_, change, fault) => {
  expect(() => buildModel({ ...testPlan, ...change })).toThrow(ModelError);
  expect(() => buildModel({ ...testPlan, ...change })).toThrow(fault);
});
