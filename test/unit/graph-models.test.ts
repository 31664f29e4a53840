// Whole models: gradients of the train graph against finite differences, and what the score graph computes.
import { expect, test } from "vitest";
import type { Graph } from "../../learning/graph/graph.ts";
import { interpret, tensor } from "../../learning/graph/interpret.ts";
import { buildModel } from "../../learning/models/build-model.ts";
import { buildLogistic } from "../../learning/models/logistic.ts";
import type { WeightTensor } from "../../learning/plan.ts";
import { expectClose, finiteDifferences, randomInputs, type Tensors } from "../support/graph-checks.ts";
import { testForecaster, testPlan } from "../support/plan-settings.ts";

const linear = { ...testForecaster, model: { kind: "dense_forecaster", hidden: [] } } as const;

const models: [string, { weights: readonly WeightTensor[]; train: Graph }][] = [
  ["autoencoder", buildModel(testPlan)],
  ["dense forecaster", buildModel(testForecaster)],
  ["linear forecaster", buildModel(linear)],
  ["logistic", buildLogistic(6)],
];

const lr = 0.25;

function givenTo(graph: Graph): Tensors {
  const inputs = randomInputs(graph, 5, 11);
  return { ...inputs, lr: tensor([], [lr]), ...(inputs.y ? { y: tensor([5], [0, 1, 1, 0, 1]) } : {}) };
}

test.each(models)(
  "the %s's step goes lr times down the gradient that finite differences say",
  (_, { weights, train }) => {
    const given = givenTo(train);
    const computed = interpret(train, given);
    for (const { name } of weights) {
      const before = given[name]?.data ?? [];
      const gradient = finiteDifferences(train, "loss", given, name);
      const expected = gradient.map((slope, at) => (before[at] as number) - lr * slope);
      expect(gradient.some((slope) => Math.abs(slope) > 1e-3)).toBe(true);
      expectClose(computed[`${name}_next`]?.data ?? [], expected, 1e-8);
    }
  },
);

test("a linear forecaster scores the distance between its prediction and the window's last row", () => {
  const { score, residualChannels } = buildModel(linear);
  const given = randomInputs(score, 2, 5);
  const [x, weight, bias] = [given.x?.data, given["layer1.weight"]?.data, given["layer1.bias"]?.data] as Float64Array[];
  const expected = [0, 1].map((row) =>
    [0, 1, 2].map((channel) => {
      let prediction = bias?.[channel] as number;
      for (let i = 0; i < 6; i++) prediction += (x?.[row * 9 + i] as number) * (weight?.[i * 3 + channel] as number);
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
  const { residualChannels, score } = buildModel(testPlan);
  expect(residualChannels).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
  expect(score.outputs).toEqual([
    { name: "score", shape: ["N"] },
    { name: "residual", shape: ["N", 12] },
  ]);
});

test("a forecaster over rolling statistics or a single row is refused", () => {
  expect(() => buildModel({ ...testPlan, model: testForecaster.model })).toThrow("features.rolling to be empty");
  const oneRow = { ...testForecaster, features: { ...testForecaster.features, windowRows: 1 } };
  expect(() => buildModel(oneRow)).toThrow("windowRows of at least 2");
});

test("the logistic classifier's score is a probability", () => {
  const { score } = buildLogistic(2);
  const inputs = {
    x: tensor([2, 2], [1, 2, -3, 0.5]),
    weight: tensor([2, 1], [0.4, -1]),
    bias: tensor([1], [0.2]),
  };
  const expected = [1 / (1 + Math.exp(1.4)), 1 / (1 + Math.exp(1.5))];
  expectClose(interpret(score, inputs).score?.data ?? [], expected, 1e-12);
});
