// Building, fusing and interpreting graphs.
import { expect, test } from "vitest";
import { GraphBuilder } from "../../learning/graph/builder.ts";
import { fuseGemmAdd } from "../../learning/graph/fuse.ts";
import { GraphError, type Value } from "../../learning/graph/graph.ts";
import { interpret } from "../../learning/graph/interpret.ts";
import { expectClose, randomInputs } from "../support/graph-checks.ts";

test("shapes that do not fit are refused while the graph is built", () => {
  const b = new GraphBuilder();
  const [x, w, v] = [b.input("x", ["N", 3]), b.input("w", [2, 3]), b.input("v", [4])];
  expect(() => b.gemm(x, w)).toThrow(GraphError);
  expect(() => b.gemm(x, w, { transB: true, c: v })).toThrow(GraphError);
  expect(() => b.add(x, v)).toThrow(GraphError);
  expect(() => b.columns(x, 1, 4)).toThrow(GraphError);
  expect(() => b.sum(x, [2])).toThrow(GraphError);
});

test("a name is given once, and an output must be computed", () => {
  const b = new GraphBuilder();
  const x = b.input("x", [2]);
  expect(() => b.input("x", [2])).toThrow("the name x is taken");
  expect(() => b.build("g", { y: x })).toThrow("output y is computed by no node");
  const y = b.neg(x);
  expect(() => b.build("g", { y, z: y })).toThrow("two outputs are the same value");
});

test("an output that is used by other nodes is renamed there too", () => {
  const b = new GraphBuilder();
  const x = b.input("x", [2]);
  const y = b.neg(x);
  const graph = b.build("g", { z: b.add(y, x), y });
  const { y: outputY, z } = interpret(graph, { x: { shape: [2], data: Float64Array.of(1, 2) } });
  expect([...(outputY?.data ?? []), ...(z?.data ?? [])]).toEqual([-1, -2, 0, 0]);
});

function fusionCase(addend: (b: GraphBuilder, product: Value) => Value) {
  const b = new GraphBuilder();
  const product = b.gemm(b.input("x", ["N", 3]), b.input("w", [3, 2]));
  const graph = b.build("g", { sum: addend(b, product) });
  const fused = fuseGemmAdd(graph);
  const given = randomInputs(graph, 1, 3);
  expectClose(interpret(fused, given).sum?.data ?? [], interpret(graph, given).sum?.data ?? [], 1e-15);
  return fused.nodes.map((node) => node.op);
}

test("a product that is added to something becomes one Gemm", () => {
  expect(fusionCase((b, product) => b.add(b.input("c", ["N", 2]), product))).toEqual(["Gemm"]);
  expect(fusionCase((b, product) => b.add(product, b.input("c", [2])))).toEqual(["Gemm"]);
});

test("a product that is used elsewhere, doubled or broadcast stays", () => {
  expect(fusionCase((b, product) => b.mul(b.add(b.input("c", [2]), product), product))).toEqual(["Gemm", "Add", "Mul"]);
  expect(fusionCase((b, product) => b.add(product, product))).toEqual(["Gemm", "Add"]);
  expect(fusionCase((b, product) => b.add(product, b.input("c", [4, "N", 2])))).toEqual(["Gemm", "Add"]);
});
