// Plans as artifacts: known by their hash, refused when anything about them is wrong.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { Graph } from "../../learning/graph/graph.ts";
import { planId } from "../../learning/ids.ts";
import { InvalidTreesError } from "../../learning/isolation-trees.ts";
import { weightCount } from "../../learning/plan.ts";
import { PlanBundle as BundleMessage } from "../../proto/gen/flead/v1/plan.ts";
import { ModelProto } from "../../proto/gen/onnx/onnx.ts";
import { checkOnnx, encodeOnnx } from "../../proto/onnx.ts";
import { decodeBundle, encodeBundle, PlanBundleError } from "../../proto/plan-bundle.ts";
import { compileGraphs } from "../support/compiled-graphs.ts";
import { forestPlan, testForecaster, testPlan } from "../support/plan-settings.ts";

const compiled = compileGraphs(testPlan);
const bundle = encodeBundle(compiled);
const hashOf = (bytes: Uint8Array) => planId(createHash("sha256").update(bytes).digest("hex"));

test("a bundle holds the plan that was compiled", () => {
  const decoded = decodeBundle(bundle.bytes, bundle.planId);
  expect(decoded.manifest).toEqual(compiled.manifest);
  expect(decoded.initialWeights).toEqual(compiled.initialWeights);
  expect(Buffer.from(decoded.scoreOnnx as Uint8Array)).toEqual(Buffer.from(encodeOnnx(compiled.score)));
  expect(Buffer.from(decoded.trainOnnx as Uint8Array)).toEqual(Buffer.from(encodeOnnx(compiled.train)));
});

test("the same settings give the same plan id, whatever the order of their keys; other settings another", () => {
  const reordered = Object.fromEntries(Object.entries(structuredClone(testPlan)).reverse()) as typeof testPlan;
  expect(encodeBundle(compilePlan(reordered)).planId).toBe(bundle.planId);
  const otherSeed = { ...testPlan, training: { ...testPlan.training, seed: 2 } };
  expect(encodeBundle(compilePlan(otherSeed)).planId).not.toBe(bundle.planId);
});

test("initial weights fill Glorot's interval around zero and biases are zero", () => {
  const { manifest, initialWeights } = compiled;
  expect(initialWeights.length).toBe(weightCount(manifest.weights));
  const [weight, bias] = manifest.weights;
  const values = initialWeights.subarray(weight?.offset, bias?.offset);
  const limit = Math.sqrt(6 / (12 + 5));
  expect(Math.max(...values)).toBeGreaterThan(0.8 * limit);
  expect(Math.min(...values)).toBeLessThan(-0.8 * limit);
  expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(limit);
  expect([...initialWeights.subarray(bias?.offset, (bias?.offset ?? 0) + 5)]).toEqual([0, 0, 0, 0, 0]);
});

test("damaged and truncated bytes do not match the plan's hash", () => {
  const damaged = bundle.bytes.slice();
  damaged[500] = (damaged[500] as number) ^ 1;
  expect(() => decodeBundle(damaged, bundle.planId)).toThrow(PlanBundleError);
  expect(() => decodeBundle(damaged, bundle.planId)).toThrow(/SHA-256 is [0-9a-f]{64}, not/);
  expect(() => decodeBundle(bundle.bytes.subarray(0, -1), bundle.planId)).toThrow("damaged or not this plan");
});

/** What decoding says of the bundle with these parts replaced and a hash that matches. */
function faultWith(change: Partial<BundleMessage>): string {
  const bytes = BundleMessage.encode({ ...BundleMessage.decode(bundle.bytes), ...change }).finish();
  try {
    decodeBundle(bytes, hashOf(bytes));
    return "accepted";
  } catch (error) {
    return error instanceof PlanBundleError ? error.message : `not a PlanBundleError: ${error}`;
  }
}

const onnx = (graph: Graph) => Buffer.from(encodeOnnx(graph));
const weightsWith = (first: number) => Buffer.from(compiled.initialWeights.with(0, first).buffer);
const forecaster = compileGraphs(testForecaster);
const momentum = compileGraphs({
  ...testPlan,
  training: { ...testPlan.training, optimiser: { kind: "momentum", momentum: 0.9 } },
});

function otherDomain(): Buffer {
  const model = ModelProto.decode(encodeOnnx(compiled.score));
  for (const node of model.graph?.node ?? []) node.domain = "com.example";
  return Buffer.from(ModelProto.encode(model).finish());
}

test.each<[string, Partial<BundleMessage>, string]>([
  ["nothing replaced", {}, "accepted"],
  ["no manifest", { manifestJson: Buffer.alloc(0) }, "manifest: Unexpected end of JSON"],
  ["a manifest that is not UTF-8", { manifestJson: Buffer.of(0xff) }, "manifest: "],
  [
    "a manifest of an earlier version",
    { manifestJson: Buffer.from(JSON.stringify({ ...compiled.manifest, formatVersion: 1, window: 3 })) },
    "manifest: formatVersion: must be 2: the plan is of another version of FLEAD",
  ],
  ["a manifest of another shape", { manifestJson: Buffer.from("[]") }, "manifest: "],
  ["a weight too few", { initialWeights: weightsWith(0).subarray(4) }, "initial weights: "],
  ["a weight that is not a number", { initialWeights: weightsWith(Number.NaN) }, "initial weights: value 0 is NaN"],
  ["no score graph", { scoreOnnx: Buffer.alloc(0) }, "score graph: it holds no graph"],
  ["the score graph for training", { trainOnnx: onnx(compiled.score) }, "train graph: its inputs are"],
  ["another model's graph", { trainOnnx: onnx(forecaster.train) }, "train graph: its inputs are"],
  ["a step of an optimiser that the manifest does not name", { trainOnnx: onnx(momentum.train) }, "weights_m float["],
  ["an operator of another domain", { scoreOnnx: otherDomain() }, "score graph: it uses operators outside"],
  [
    "a field that ONNX has and FLEAD does not write",
    { scoreOnnx: Buffer.concat([onnx(compiled.score), Buffer.of(0x28, 1)]) },
    "score graph: it holds fields that FLEAD does not write",
  ],
])("a bundle with %s: %#", (_, change, fault) => {
  expect(faultWith(change)).toContain(fault);
});

test("a forest's bundle has no graph: its weights give one each, and no others", () => {
  const { bytes, planId: forestId } = encodeBundle(compilePlan(forestPlan));
  const { scoreOnnx, trainOnnx, initialWeights } = decodeBundle(bytes, forestId);
  if (typeof scoreOnnx !== "function") throw new Error("a forest has a graph for each weights");
  expect(trainOnnx).toBeNull();
  expect(() => checkOnnx(scoreOnnx(initialWeights), { inputs: [], outputs: [] })).toThrow(
    "outside the standard domain",
  );
  expect(() => scoreOnnx(initialWeights.with(0, 99))).toThrow(InvalidTreesError);
  for (const [change, fault] of [
    [{ scoreOnnx: onnx(compiled.score) }, "a forest's plan holds no graph"],
    [{ trainOnnx: onnx(compiled.train) }, "a forest's plan holds no graph"],
    [{ initialWeights: Buffer.from(initialWeights.with(0, 99).buffer) }, "initial weights: tree 0 splits feature 99"],
  ] as const) {
    const other = BundleMessage.encode({ ...BundleMessage.decode(bytes), ...change }).finish();
    expect(() => decodeBundle(other, hashOf(other))).toThrow(PlanBundleError);
    expect(() => decodeBundle(other, hashOf(other))).toThrow(fault);
  }
});

test("a bundle that no gateway would accept is not made", () => {
  const manifest = { ...compiled.manifest, residualChannels: [0] };
  expect(() => encodeBundle({ ...compiled, manifest })).toThrow(PlanBundleError);
});

test("random bytes, and random bytes in the place of a part, are refused with a PlanBundleError", () => {
  const parts = ["manifestJson", "scoreOnnx", "trainOnnx", "initialWeights"] as const;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...parts), (bytes, part) => {
      expect(() => decodeBundle(bytes, hashOf(bytes))).toThrow(PlanBundleError);
      expect(faultWith({ [part]: Buffer.from(bytes) })).toMatch(/^plan bundle: /);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("any JSON as manifest, and a manifest with any value in the place of one of its own, never escapes the check", () => {
  const keys = Object.keys(compiled.manifest);
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...keys), (value, key) => {
      expect(faultWith({ manifestJson: Buffer.from(JSON.stringify(value)) })).toMatch(/^plan bundle: manifest: /);
      const manifestJson = Buffer.from(JSON.stringify({ ...compiled.manifest, [key]: value }));
      expect(faultWith({ manifestJson })).toMatch(/^(plan bundle: manifest: |accepted)/);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("a flipped bit anywhere, under a hash that matches, is refused with a PlanBundleError or decodes", () => {
  fc.assert(
    fc.property(fc.nat(bundle.bytes.length - 1), fc.nat(7), (at, bit) => {
      const bytes = bundle.bytes.slice();
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      try {
        decodeBundle(bytes, hashOf(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(PlanBundleError);
      }
    }),
    { numRuns: 1000, seed: 1 },
  );
});
