// Isolation trees in the ONNX file format: TreeEnsembleRegressor of ai.onnx.ml 3 in float32, after it the score.
import { expectedPathLength, type IsolationTrees, treeRange } from "../learning/isolation-trees.ts";
import { AttributeProto_AttributeType as Attribute, type AttributeProto, ModelProto } from "./gen/onnx/onnx.ts";
import {
  floatTensor,
  IR_VERSION,
  indexTensor,
  intAttribute,
  intsAttribute,
  noAttribute,
  nodeProto,
  OPERATOR_SET,
  valueInfo,
} from "./onnx.ts";

const ML_DOMAIN = "ai.onnx.ml";
const ML_OPERATOR_SET = 3n;

/**
 * A graph from `z` [N, channels], rows as the trees see them (standardised), to `path_length` [N, 1], the mean over the
 * trees, and `score` [N]. The same trees give the same bytes.
 */
export function encodeForest(trees: IsolationTrees): Uint8Array {
  const scalar = (name: string, value: number) => floatTensor({ name, shape: [], values: [value] });
  const paths = nodeProto("TreeEnsembleRegressor", ["z"], "path_length", treeAttributes(trees));
  const model: ModelProto = {
    irVersion: IR_VERSION,
    producerName: "flead",
    opsetImport: [
      { domain: "", version: OPERATOR_SET },
      { domain: ML_DOMAIN, version: ML_OPERATOR_SET },
    ],
    graph: {
      name: "isolation_forest",
      input: [valueInfo({ name: "z", shape: ["N", trees.channels] })],
      output: [valueInfo({ name: "path_length", shape: ["N", 1] }), valueInfo({ name: "score", shape: ["N"] })],
      initializer: [scalar("two", 2), scalar("minus_expected", -expectedPathLength(trees)), indexTensor("column", [1])],
      node: [
        { ...paths, domain: ML_DOMAIN },
        nodeProto("Squeeze", ["path_length", "column"], "path"),
        nodeProto("Div", ["path", "minus_expected"], "exponent"),
        nodeProto("Pow", ["two", "exponent"], "score"),
      ],
    },
  };
  return ModelProto.encode(model).finish();
}

/** Nodes are numbered within their tree; a value ≤ the threshold goes to the true child. */
function treeAttributes(trees: IsolationTrees): AttributeProto[] {
  const numbers = numberNodes(trees);
  const modes = Array.from(trees.leftStep, (step) => (step === 0 ? "LEAF" : "BRANCH_LEQ"));
  return [
    intsAttribute("nodes_treeids", numbers.tree),
    intsAttribute("nodes_nodeids", numbers.node),
    intsAttribute("nodes_featureids", Array.from(trees.feature)),
    intsAttribute("nodes_truenodeids", numbers.left),
    intsAttribute("nodes_falsenodeids", numbers.right),
    floatsAttribute("nodes_values", Array.from(trees.threshold)),
    { ...noAttribute, name: "nodes_modes", strings: modes.map((mode) => Buffer.from(mode)), type: Attribute.STRINGS },
    ...leafAttributes(trees, numbers),
  ];
}

type NodeNumbers = Record<"tree" | "node" | "left" | "right", number[]>;

function numberNodes(trees: IsolationTrees): NodeNumbers {
  const numbers: NodeNumbers = { tree: [], node: [], left: [], right: [] };
  for (let tree = 0; tree < trees.root.length; tree++) {
    const { start, end } = treeRange(trees, tree);
    for (let at = start; at < end; at++) {
      const step = trees.leftStep[at] as number;
      numbers.tree.push(tree);
      numbers.node.push(at - start);
      numbers.left.push(step === 0 ? 0 : at - start + step);
      numbers.right.push(step === 0 ? 0 : at - start + step + 1);
    }
  }
  return numbers;
}

/** Leaves hold by what their path length differs from the expected one: a float32 sum of large lengths loses digits. */
function leafAttributes(trees: IsolationTrees, { tree, node }: NodeNumbers): AttributeProto[] {
  const expected = expectedPathLength(trees);
  const leaves = Array.from(trees.leftStep.keys()).filter((at) => trees.leftStep[at] === 0);
  const ofLeaves = (values: ArrayLike<number>) => leaves.map((at) => values[at] as number);
  const differences = ofLeaves(trees.threshold).map((length) => length - expected);
  return [
    intAttribute("n_targets", 1),
    intsAttribute("target_treeids", ofLeaves(tree)),
    intsAttribute("target_nodeids", ofLeaves(node)),
    intsAttribute("target_ids", new Array<number>(leaves.length).fill(0)),
    floatsAttribute("target_weights", differences),
    floatsAttribute("base_values", [expected]),
    stringAttribute("aggregate_function", "AVERAGE"),
  ];
}

function stringAttribute(name: string, value: string): AttributeProto {
  return { ...noAttribute, name, s: Buffer.from(value), type: Attribute.STRING };
}

function floatsAttribute(name: string, floats: number[]): AttributeProto {
  return { ...noAttribute, name, floats, type: Attribute.FLOATS };
}
