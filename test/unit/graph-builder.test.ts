// Building and interpreting graphs.
import { expect, test } from "vitest";
import { GraphBuilder } from "../../learning/graph/builder.ts";
import { GraphError, partOf } from "../../learning/graph/graph.ts";
import { interpret } from "../../learning/graph/interpret.ts";
import { randomInputs } from "../support/graph-checks.ts";

test("shapes that do not fit are refused while the graph is built", () => {
  const b = new GraphBuilder();
  const [x, w, v] = [b.input("x", ["N", 3]), b.input("w", [2, 3]), b.input("v", [4])];
  expect(() => b.gemm(x, w)).toThrow(GraphError);
  expect(() => b.gemm(x, w, { transB: true, c: v })).toThrow(GraphError);
  expect(() => b.add(x, v)).toThrow(GraphError);
  expect(() => b.slice(x, 1, 1, 4)).toThrow(GraphError);
  expect(() => b.slice(x, 0, 0, 1)).toThrow("axis 0 of [N,3] has no fixed size");
  expect(() => b.pad(x, 0, 1, 1)).toThrow(GraphError);
  expect(() => b.concat([x, w], 1)).toThrow(GraphError);
  expect(() => b.reshape(x, ["N", 4])).toThrow("[N,3] cannot take the shape [N,4]");
  expect(() => b.reshape(x, ["N", "N*3"])).toThrow("holds N more than once");
  expect(() => b.reshape(v, ["N", 3])).toThrow(GraphError);
  expect(() => b.largest(x, 4)).toThrow("does not have 4 columns");
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

test("a part of a graph computes what the whole does, with no node more than it takes", () => {
  const b = new GraphBuilder();
  const x = b.input("x", ["N", 3]);
  const middle = b.tanh(x);
  const graph = b.build("g", { sum: b.sum(middle, [1]), square: b.mul(middle, middle) });
  const given = randomInputs(graph, 2, 1);
  const part = partOf(graph, ["sum", middle.name]);
  expect(part.nodes.map((node) => node.op)).toEqual(["Tanh", "ReduceSum"]);
  const { sum, [middle.name]: inner } = interpret(part, given);
  expect(sum).toEqual(interpret(graph, given).sum);
  expect(inner?.data[0]).toBe(Math.tanh(given.x?.data[0] as number));
  expect(() => partOf(graph, ["other"])).toThrow("the graph has no value other");
});
