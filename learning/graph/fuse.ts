// Saves a node wherever a matrix product is added to something: Gemm adds for free.
import { type Graph, type Node, sameShape } from "./graph.ts";

/** The same graph with every `Add(w, Gemm(a, b))` as `Gemm(a, b, w)`, where the product has no other use. */
export function fuseGemmAdd(graph: Graph): Graph {
  const used = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.map((value) => value.name)];
  const useCount = (name: string) => used.filter((other) => other === name).length;
  const products = new Map(
    graph.nodes
      .filter((node) => node.op === "Gemm" && node.inputs.length === 2 && useCount(node.output.name) === 1)
      .map((node) => [node.output.name, node]),
  );
  const fused = graph.nodes.map((node) => fuseOne(node, products));
  const stillUsed = new Set(fused.flatMap((node) => node.inputs));
  return {
    ...graph,
    nodes: fused.filter((node) => !products.has(node.output.name) || stillUsed.has(node.output.name)),
  };
}

/** An addition that is wider than its product (the product is broadcast) stays as it is. */
function fuseOne(node: Node, products: ReadonlyMap<string, Node>): Node {
  if (node.op !== "Add") return node;
  const product = node.inputs.map((name) => products.get(name)).find((found) => found !== undefined);
  if (product?.op !== "Gemm" || !sameShape(product.output.shape, node.output.shape)) return node;
  const addend = node.inputs.find((name) => name !== product.output.name) as string;
  return { ...product, inputs: [...product.inputs, addend], output: node.output };
}
