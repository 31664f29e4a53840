import { join } from "node:path";
import { expect, test } from "vitest";
import { trainLocally } from "../../agent/train-locally.ts";
import { readCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import type { HeldOutStream } from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { noFleet } from "../../learning/fleet.ts";
import { DeviceMonitor } from "../../learning/monitor.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { packageRoot } from "../../runtime/package-root.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { openEvaluator } from "../support/held-out.ts";
import { labelledSettings } from "../support/labelled-plan.ts";

const { planId, bytes } = encodeBundle(compilePlan(labelledSettings()));
const plan = decodeBundle(bytes, planId);
const head = plan.manifest.commissioningRows + plan.manifest.threshold.rows;
const running = new AbortController().signal;

/** 300 rows, one a second: the current leaves the flow for 20 rows of every 60. */
function stream(seed: number): HeldOutStream {
  const random = seededRandom(seed);
  const labels = Uint8Array.from({ length: 300 }, (_, row) => (row % 60 >= 40 ? 1 : 0));
  const rows = Array.from(labels, (label) => {
    const flow = 30 + 2 * random.normal();
    return Float64Array.of(flow, flow / 10 + 0.05 * random.normal() + 3 * label);
  });
  return { stream: `pump-${seed}`, sha256: "", rows, atMs: rows.map((_, row) => 1000 * row), labels };
}

/** Weights after a local training on another pump's labelled rows. */
async function trainedOn({ rows, labels, atMs }: HeldOutStream): Promise<Float32Array> {
  const monitor = new DeviceMonitor(plan.manifest);
  const x: number[] = [];
  const y: number[] = [];
  for (const [index, row] of rows.entries()) {
    const observed = monitor.observe(row, atMs[index] ?? 0);
    if (observed === null) continue;
    x.push(...observed.features);
    y.push(labels[index] ?? 0);
  }
  const model = await PlanModel.load(plan);
  const { initialWeights, manifest } = plan;
  const start = { local: initialWeights, base: initialWeights };
  const data = { x: Float32Array.from(x), y: Float32Array.from(y), rows: y.length };
  const options = { learningRate: manifest.training.learningRate, trainingNumber: 0, gatewaySeed: 1, signal: running };
  const result = await trainLocally(model, manifest, start, data, options);
  await model.release();
  if (result === null) throw new Error("the training was aborted");
  return result.weights;
}

test("the example is a plan that learns from labels", async () => {
  const { plan: example } = await readCohortFile(join(packageRoot, "plans", "labelled.yaml"));
  expect(example.model).toEqual({ kind: "classifier", hidden: [] });
  expect(() => encodeBundle(compilePlan(example))).not.toThrow();
});

test("a classifier is evaluated behind the rows that its confidence is told from, and does what it learned from labels", async () => {
  const streams = [stream(1), stream(2)];
  const evaluator = await openEvaluator(plan, streams);
  const learned = stream(3);
  const inverted = { ...learned, labels: learned.labels.map((label) => 1 - label) };
  const [good, bad] = [await trainedOn(learned), await trainedOn(inverted)];
  const evaluation = await evaluator.evaluate(good, noFleet, running);
  const opposite = await evaluator.evaluate(bad, noFleet, running);
  await evaluator.close();
  const own = evaluation?.rows.filter((row) => row.stream === "pump-1") ?? [];
  expect(own.map(({ rowIndex }) => rowIndex)).toEqual(Array.from({ length: 300 - head }, (_, index) => head + index));
  expect(own.every(({ threshold, score }) => threshold === 0.5 && score >= 0 && score <= 1)).toBe(true);
  expect(evaluation?.scores.f1).toBeGreaterThan(0.9);
  expect(evaluation?.scores.prAuc).toBeGreaterThan(0.95);
  expect(Number.isFinite(evaluation?.scores.loss)).toBe(true);
  expect(opposite?.scores.f1).toBeLessThan(0.3);
  expect(evaluator.baselines?.alwaysAlarm.recall).toBe(1);
});
