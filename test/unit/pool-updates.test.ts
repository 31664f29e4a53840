// A round of forests: whose trees are in the candidate, what is recorded of them, and what a round leaves as it was.
import { expect, test } from "vitest";
import { checkDelta } from "../../coordinator/core/check-update.ts";
import type { CohortState } from "../../coordinator/core/cohort-state.ts";
import { nextModel, poolUpdates, type RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import type { RoundRecord } from "../../coordinator/ports/federation-store.ts";
import { runRound } from "../../coordinator/run-round.ts";
import { EmptyRoundError } from "../../learning/aggregation/fedavg.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import type { DetectionScores } from "../../learning/detection.ts";
import { unpackForest } from "../../learning/forest-weights.ts";
import { InvalidTreesError } from "../../learning/isolation-trees.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { cohortState } from "../support/cohort-state.ts";
import { aForest, shapeOf } from "../support/forests.ts";
import { forestPlan } from "../support/plan-settings.ts";

const SHAPE = shapeOf(forestPlan);
const { manifest, initialWeights } = compilePlan(forestPlan);

let updates = 0;
const update = (gatewayId: string, delta: Float32Array): RoundUpdate => ({
  updateId: `u${++updates}`,
  gatewayId,
  baseVersion: 1,
  samples: 50,
  receivedAtMs: 0,
  delta,
});

const treesOf = (weights: Float32Array) => {
  const { threshold, root } = unpackForest(weights, SHAPE);
  return Array.from(root, (from, tree) => threshold.slice(from, root[tree + 1]).join());
};

test("a gateway has one voice, the forest it sent last, and as many trees in the pool as the others", () => {
  const [old, a, b] = [1, 2, 3].map((seed) => aForest(SHAPE, seed)) as [Float32Array, Float32Array, Float32Array];
  const { weights, shares, gateways } = poolUpdates(SHAPE, [update("a", old), update("b", b), update("a", a)]);
  expect(shares).toEqual([0, 0.5, 0.5]);
  const pool = treesOf(weights);
  expect(pool.length).toBe(SHAPE.trees);
  const counts = [old, a, b].map((forest) => treesOf(forest).filter((tree) => pool.includes(tree)).length);
  expect(counts).toEqual([0, SHAPE.trees / 2, SHAPE.trees / 2]);
  expect([...gateways]).toEqual([
    ["a", { agreement: null, withOthers: null, part: "counted" }],
    ["b", { agreement: null, withOthers: null, part: "counted" }],
  ]);
});

test("of more gateways than trees some have none in the pool, and are told so", () => {
  const forest = aForest(SHAPE, 1);
  const many = Array.from({ length: SHAPE.trees + 5 }, (_, index) => update(`gw-${index}`, forest));
  const { shares, gateways } = poolUpdates(SHAPE, many);
  expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
  expect(Math.max(...shares)).toBe(1 / SHAPE.trees);
  expect([...gateways.values()].filter(({ part }) => part === "excluded").length).toBe(5);
});

test("a round without updates, or with what is no forest, is none", () => {
  expect(() => poolUpdates(SHAPE, [])).toThrow(EmptyRoundError);
  expect(() => poolUpdates(SHAPE, [update("a", new Float32Array(initialWeights.length))])).toThrow(InvalidTreesError);
});

test("trees are pooled by a forest's plan alone", () => {
  const federation = { ...cohortState().federation, rule: { kind: "pool_trees" } as const };
  const autoencoder = cohortState({ federation });
  const delta = new Float32Array(autoencoder.champion.weights.length);
  expect(() => nextModel(autoencoder, [update("a", delta)])).toThrow("a dense_autoencoder has no trees to pool");
});

test("an update of a forest is bounded by what trees can be, not by a norm", () => {
  expect(checkDelta(manifest, encodeWeights(aForest(SHAPE, 1, 1000)))).toBeNull();
  const refusal = checkDelta(manifest, encodeWeights(aForest(SHAPE, 1).with(0, 99)));
  expect(refusal).toMatchObject({ kind: "malformed", reason: "invalid_trees" });
  expect(refusal?.message).toMatch(/tree 0 splits feature 99; there are \d+/);
});

/** One round of two gateways' forests, the champion's quality and the candidate's as given. */
async function round(champion: number | null, candidate: number | null) {
  const known = cohortState();
  const before: CohortState = {
    ...known,
    manifest,
    federation: { ...known.federation, rule: { kind: "pool_trees" } },
    champion: { ...known.champion, weights: aForest(SHAPE, 9), trained: true },
    rate: { factor: 1.2, smoothedQuality: null, measuredOn: null },
  };
  const given = [update("a", aForest(SHAPE, 1)), update("b", aForest(SHAPE, 2))];
  const records: RoundRecord[] = [];
  const evaluation = (quality: number | null) =>
    quality === null
      ? null
      : {
          scores: { f1: quality, prAuc: quality, loss: 0.4 } as DetectionScores,
          frozen: { f1: quality, prAuc: quality, loss: 0.4 } as DetectionScores,
          streams: [],
          set: "streams",
          rows: [],
        };
  const outcome = await runRound(
    {
      store: {
        roundUpdates: async () => given,
        gatewayStatistics: async () => [],
        recordRound: async (record) => {
          records.push(record);
        },
      },
      standings: { of: async () => new Map() },
      evaluator: {
        evaluate: async (weights) => evaluation(weights === before.champion.weights ? champion : candidate),
        baselines: null,
      },
    },
    before,
    new AbortController().signal,
  );
  return { before, given, outcome, record: records[0] as RoundRecord };
}

test("the candidate is the pool, whatever the champion was, and a learning rate that means nothing stays", async () => {
  const { before, given, outcome, record } = await round(0.5, 0.6);
  expect(record.candidate.weights).toEqual(poolUpdates(SHAPE, given).weights);
  expect(record).toMatchObject({
    rule: "pool_trees",
    verdict: "promoted",
    contributions: [{ share: 0.5 }, { share: 0.5 }],
  });
  expect(outcome.cohort.champion.weights).toBe(record.candidate.weights);
  expect(outcome.cohort.rate).toEqual(before.rate);
  expect(outcome.cohort.server).toBe(before.server);
  for (const feedback of record.feedback)
    expect(feedback).toMatchObject({ factor: 1.2, agreement: null, trend: "flat" });
});

test("a pool that detects much worse is rejected, and the champion stays", async () => {
  const { before, outcome, record } = await round(0.6, 0.4);
  expect(record.verdict).toBe("rejected");
  expect(outcome.cohort.champion).toBe(before.champion);
});
