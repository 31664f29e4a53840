// A plan whose model is a forest: grown, scored, calibrated on and evaluated by the parts that every plan goes through.
import { expect, onTestFinished, test } from "vitest";
import { UnusableModelError } from "../../agent/check-model.ts";
import { type TrainingOptions, trainLocally } from "../../agent/train-locally.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { packForest, unpackForest } from "../../learning/forest-weights.ts";
import { cohortId } from "../../learning/ids.ts";
import { IsolationForest } from "../../learning/isolation-forest.ts";
import { InvalidTreesError } from "../../learning/isolation-trees.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { initialOptimiserState, PlanModel } from "../../runtime/plan-model.ts";
import { aForest, shapeOf } from "../support/forests.ts";
import { openEvaluator, plantStream } from "../support/held-out.ts";
import { openLearner } from "../support/open-learner.ts";
import { forestPlan } from "../support/plan-settings.ts";

const SHAPE = shapeOf(forestPlan);
const { bytes, planId } = encodeBundle(compilePlan(forestPlan));
const bundle = decodeBundle(bytes, planId);

async function open(): Promise<PlanModel> {
  const model = await PlanModel.load(bundle);
  onTestFinished(() => model.release());
  return model;
}

const features = (rows: number, seed = 1) => {
  const random = seededRandom(seed);
  return Float32Array.from({ length: rows * SHAPE.features }, () => random.normal());
};

test("a row scores as the same trees do in typed arrays, to 1e-6, and its residuals are its features' squares", async () => {
  const model = await open();
  const own = IsolationForest.train(Float64Array.from(features(200)), SHAPE.features, SHAPE);
  const weights = packForest(own.trees, SHAPE);
  const rows = Float64Array.from(features(333, 2), (value) => 2 * value);
  const x = own.standardise(rows);
  const { scores, residuals } = await model.score(weights, x, 333);
  const expected = own.scoreRows(rows);
  expect(Math.max(...expected.map((score, row) => Math.abs(score - Number(scores[row]))))).toBeLessThan(1e-6);
  expect(residuals).toEqual(x.map((value) => value * value));
  const { scores: untrained } = await model.score(bundle.initialWeights, x, 333);
  expect([...new Set(untrained)]).toEqual([0.5]);
});

test("weights that are no forest, rows of another width and a step to descend by are refused", async () => {
  const model = await open();
  await expect(model.score(bundle.initialWeights.with(0, 99), features(2), 2)).rejects.toThrow(InvalidTreesError);
  await expect(model.score(bundle.initialWeights, features(2), 3)).rejects.toThrow(RangeError);
  const state = initialOptimiserState(bundle.manifest);
  const point = { weights: bundle.initialWeights, base: bundle.initialWeights, state };
  await expect(model.train(point, { x: features(2), y: null, rows: 2 }, 0.1)).rejects.toThrow(/grown, not descended/);
});

async function grower() {
  const model = await open();
  return (rows: number, change: Partial<TrainingOptions> = {}) => {
    const start = { local: bundle.initialWeights, base: bundle.initialWeights };
    const data = { x: features(rows), y: null, rows };
    const signal = new AbortController().signal;
    const options = { learningRate: 0.1, trainingNumber: 0, gatewaySeed: 7, signal, ...change };
    return trainLocally(model, bundle.manifest, start, data, options);
  };
}

test("a training grows a whole forest, to the bit the same for the same rows, gateway and number, and another otherwise", async () => {
  const grow = await grower();
  const grown = await grow(150);
  expect(unpackForest(grown?.delta ?? new Float32Array(0), SHAPE).root.length).toBe(SHAPE.trees);
  expect(grown).toMatchObject({ weights: bundle.initialWeights, steps: 1 });
  expect(grown?.loss).toBeGreaterThan(0.3);
  expect(grown?.loss).toBeLessThan(0.6);
  expect(await grow(150)).toEqual(grown);
  expect(await grow(150, { learningRate: 4 })).toEqual(grown);
  for (const other of [{ gatewaySeed: 8 }, { trainingNumber: 1 }])
    expect((await grow(150, other))?.delta).not.toEqual(grown?.delta);
});

test("with fewer rows than a tree is grown from, and when it is aborted, a training gives nothing", async () => {
  const grow = await grower();
  expect(await grow(SHAPE.subsampleRows - 1)).toBeNull();
  expect(await grow(SHAPE.subsampleRows)).not.toBeNull();
  expect(await grow(150, { signal: AbortSignal.abort() })).toBeNull();
});

test("an agent's rows wait until there are as many good ones as a tree is grown from", async () => {
  const { learner, cohort, updates } = await openLearner(cohortId("pumps"), forestPlan);
  learner.learnAll(features(60));
  expect(learner.due()).toBe(true);
  await learner.train();
  expect([cohort.devices.size, updates.length, learner.due()]).toEqual([0, 0, true]);
});

test("a model that is no forest is refused as unusable, and the one in force stays", async () => {
  const { learner, activate } = await openLearner(cohortId("pumps"), forestPlan);
  const forest = aForest(SHAPE, 1);
  expect(await activate(2, true, forest)).toBe("activated");
  await expect(activate(3, true, forest.with(0, 0.5))).rejects.toThrow(UnusableModelError);
  await expect(activate(3, true, forest.with(0, 0.5))).rejects.toThrow(/^tree 0 splits feature 0.5; there are/);
  await expect(activate(3, false, forest.subarray(1))).rejects.toThrow(/weights; the plan has/);
  expect(learner.slot).toMatchObject({ globalVersion: 2, base: forest });
});

test("a held-out evaluation of a forest has its mean score of normal rows for a loss", async () => {
  const streams = [0, 1].map((pump) => plantStream(pump, 700, 300));
  const evaluator = await openEvaluator(bundle, streams);
  onTestFinished(() => evaluator.close());
  const signal = new AbortController().signal;
  const evaluation = await evaluator.evaluate(aForest(SHAPE, 1), noFleet, signal);
  const normal = evaluation?.rows.filter(({ actual }) => actual === 0) ?? [];
  const mean = normal.reduce((sum, { score }) => sum + score / normal.length, 0);
  expect(normal.length).toBeGreaterThan(100);
  expect(evaluation?.scores.loss).toBeCloseTo(mean, 6);
  await expect(evaluator.evaluate(new Float32Array(3), noFleet, signal)).rejects.toThrow(InvalidTreesError);
});
