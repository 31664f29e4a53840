// A version's .onnx, as anybody's onnxruntime runs it.
import * as ort from "onnxruntime-node";
import { expect, onTestFinished, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { OnnxError } from "../../proto/onnx.ts";
import { decodeBundle, encodeBundle, scoreModel } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { aForest, shapeOf } from "../support/forests.ts";
import { forestPlan, testForecaster, testPlan } from "../support/plan-settings.ts";

function bundleOf(settings: PlanSettings) {
  const { bytes, planId } = encodeBundle(compilePlan(settings));
  return decodeBundle(bytes, planId);
}

const moved = (settings: PlanSettings) => bundleOf(settings).initialWeights.map((weight, i) => weight + 0.1 * (i % 3));

test.each([
  ["an autoencoder", testPlan, moved(testPlan), "x"],
  ["a forecaster", testForecaster, moved(testForecaster), "x"],
  ["a forest", forestPlan, aForest(shapeOf(forestPlan), 5), "z"],
] as const)(
  "%s takes feature rows alone and gives what the plan gives with the version's weights",
  async (_, settings, weights, input) => {
    const bundle = bundleOf(settings);
    const plan = await PlanModel.load(bundle);
    const session = await ort.InferenceSession.create(scoreModel(bundle, weights));
    onTestFinished(() => Promise.all([plan.release(), session.release()]).then(() => undefined));
    const random = seededRandom(7);
    const { featureCount } = bundle.manifest;
    const x = Float32Array.from({ length: 40 * featureCount }, () => random.normal());
    const expected = await plan.score(weights, x, 40);
    expect(session.inputNames).toEqual([input]);
    const { score } = await session.run({ [input]: new ort.Tensor("float32", x, [40, featureCount]) });
    expect(score?.data).toEqual(expected.scores);
    expect((await plan.score(bundle.initialWeights, x, 40)).scores).not.toEqual(expected.scores);
  },
);

test("weights that are not the plan's make no model", () => {
  expect(() => scoreModel(bundleOf(testPlan), moved(testPlan).subarray(1))).toThrow(OnnxError);
  expect(() => scoreModel(bundleOf(forestPlan), moved(testPlan))).toThrow();
});
