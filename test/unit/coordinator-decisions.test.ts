import { expect, test } from "vitest";
import { type CohortFacts, checkClaim, checkNorm } from "../../coordinator/core/check-update.ts";
import { championsSince, cohortFacts } from "../../coordinator/core/cohort-state.ts";
import { combineUpdates } from "../../coordinator/core/combine-updates.ts";
import { judge, quality } from "../../coordinator/core/gate.ts";
import { lossTrend, nextRate } from "../../coordinator/core/learning-rate.ts";
import { updateId } from "../../learning/ids.ts";
import type { Scores } from "../../learning/metrics.ts";
import { cohortState } from "../support/cohort-state.ts";

const FACTS: CohortFacts = {
  planId: "a".repeat(64),
  isLeft: (plan) => plan === "c".repeat(64),
  championVersion: 7,
  isRolledBack: (version) => version === 5,
  isKnownBase: (version) => [1, 2, 4, 5, 6, 7].includes(version),
  championsSince: (version) => 7 - version,
  maxStaleness: 3,
};
const CLAIM = {
  updateId: updateId("01JD0000000000000000000000"),
  planId: "a".repeat(64),
  baseVersion: 7,
  samples: 50,
  localSteps: 3,
  loss: 0.5,
};

const scores = (f1: number | null, prAuc: number | null) => ({ f1, prAuc }) as Scores;

test.each([
  ["another plan", { planId: "b".repeat(64) }, "malformed", "unknown_plan"],
  ["a version that never was champion", { baseVersion: 3 }, "malformed", "unknown_base"],
  ["a version of the future", { baseVersion: 8 }, "malformed", "unknown_base"],
  ["a base that is too old", { baseVersion: 2 }, "refused", "stale_base"],
  ["a base that was rolled back", { baseVersion: 5 }, "refused", "rolled_back_base"],
  ["no samples", { samples: 0 }, "malformed", "bad_samples"],
  ["samples that no gateway can have", { samples: 1e9 }, "malformed", "bad_samples"],
  ["half a sample", { samples: 1.5 }, "malformed", "bad_samples"],
  ["a loss that is no number", { loss: Number.NaN }, "malformed", "bad_loss"],
])("an update with %s is refused with its reason", (_, change, kind, reason) => {
  expect(checkClaim({ ...CLAIM, ...change }, FACTS)).toMatchObject({ kind, reason });
});

test("an update that is fresh or within the staleness limit counts", () => {
  expect(checkClaim(CLAIM, FACTS)).toBeNull();
  expect(checkClaim({ ...CLAIM, baseVersion: 4 }, FACTS)).toBeNull();
});

test("a delta beyond the norm bound is refused, one within it counts", () => {
  expect(checkNorm(100)).toBeNull();
  expect(checkNorm(100.1)).toMatchObject({ reason: "norm_too_large" });
});

test("rejected candidates between champions do not make an update staler", () => {
  const state = cohortState({ championVersions: [1, 2, 5, 9] });
  expect([1, 2, 5, 9].map((version) => championsSince(state, version))).toEqual([3, 2, 1, 0]);
});

test("a base that was never champion is unknown even where a candidate had that number", () => {
  const state = cohortState({ championVersions: [1, 3], lastVersion: 3 });
  const facts = cohortFacts(state);
  expect([1, 2, 3, 4].map(facts.isKnownBase)).toEqual([true, false, true, false]);
});

const update = (gatewayId: string, samples: number, baseVersion: number, delta: number[]) => ({
  updateId: `${gatewayId}-${baseVersion}-${samples}`,
  gatewayId,
  baseVersion,
  samples,
  receivedAtMs: 0,
  delta: Float32Array.from(delta),
});

test("updates weigh by samples times 1/√(1 + staleness)", () => {
  const combined = combineUpdates(
    { kind: "fedavg" },
    [update("a", 100, 7, [1, 0]), update("b", 100, 4, [0, 1])],
    (base) => 7 - base,
  );
  expect(combined.shares[0]).toBeCloseTo(2 / 3, 12);
  expect(combined.shares[1]).toBeCloseTo(1 / 3, 12);
  expect([...combined.delta]).toEqual([expect.closeTo(2 / 3, 6), expect.closeTo(1 / 3, 6)]);
});

test("a gateway's updates are steps of one walk: they add up, and the walk weighs by its samples", () => {
  const walk = [update("a", 50, 7, [1, 0]), update("a", 50, 7, [2, 0])];
  expect([...combineUpdates({ kind: "fedavg" }, walk, () => 0).delta]).toEqual([3, 0]);
  const both = combineUpdates({ kind: "fedavg" }, [...walk, update("b", 300, 7, [0, 4])], () => 0);
  expect([...both.delta]).toEqual([0.75, 3]);
  expect(both.shares).toEqual([0.125, 0.125, 0.75]);
});

test("a walk that is counted in two rounds moves the model as far as in one", () => {
  const walk = Array.from({ length: 10 }, (_, i) => update("a", 50, 7, [i, 1]));
  const whole = combineUpdates({ kind: "fedavg" }, walk, () => 0).delta;
  const [first, second] = [walk.slice(0, 4), walk.slice(4)].map(
    (part) => combineUpdates({ kind: "fedavg" }, part, () => 0).delta,
  );
  expect([...whole]).toEqual([0, 1].map((i) => (first?.[i] ?? 0) + (second?.[i] ?? 0)));
});

test("a gateway's agreement is the cosine of its own pull with the round's", () => {
  const updates = [
    update("a", 100, 7, [1, 0]),
    update("a", 100, 7, [1, 0]),
    update("b", 100, 7, [-1, 0]),
    update("c", 100, 7, [0, 0]),
  ];
  const { gateways } = combineUpdates({ kind: "fedavg" }, updates, () => 0);
  expect(gateways.get("a")?.agreement).toBeCloseTo(1, 6);
  expect(gateways.get("b")?.agreement).toBeCloseTo(-1, 6);
  expect(gateways.get("c")?.agreement).toBeNull();
});

test("a robust rule gives each gateway one voice, however many updates it sends, and says whose was not heard", () => {
  const honest = ["a", "b", "c", "d"].map((id, i) => update(id, 50, 7, [1 + i / 10, 1]));
  const liar = Array.from({ length: 20 }, () => update("liar", 1_000_000, 7, [-500, 0]));
  const trimmed = combineUpdates({ kind: "trimmed_mean", share: 0.2 }, [...honest, ...liar], () => 0);
  expect(trimmed.delta[0]).toBeGreaterThanOrEqual(1);
  expect(trimmed.delta[0]).toBeLessThanOrEqual(1.3);
  const krum = combineUpdates({ kind: "multi_krum", faultyShare: 0.2 }, [...honest, ...liar], () => 0);
  expect(krum.gateways.get("liar")?.part).toBe("excluded");
  expect(krum.gateways.get("a")?.part).toBe("counted");
  expect(krum.shares.slice(4).every((share) => share === 0)).toBe(true);
  expect(krum.shares.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  const clipped = combineUpdates({ kind: "fedavg", clip: { medianMultiple: 2 } }, [...honest, ...liar], () => 0);
  expect(clipped.gateways.get("liar")?.part).toBe("clipped");
});

test("the gate rejects a large drop and lets a small dip pass", () => {
  expect(judge(scores(0.8, 0.7), scores(0.84, 0.75), 0.05).verdict).toBe("promoted");
  expect(judge(scores(0.8, 0.7), scores(0.9, 0.75), 0.05).verdict).toBe("rejected");
});

test("what was not measured is not judged, and the reason says so", () => {
  expect(judge(null, null, 0.05)).toEqual({ verdict: "promoted", reason: "not evaluated: no held-out stream" });
  expect(judge(scores(0.5, null), scores(0.9, 0.9), 0.05).reason).toContain("lack normal rows or anomalies");
  expect(quality(scores(null, 0.4))).toBeNull();
});

test("the first trained candidate replaces nothing that serves, and its reason says so", () => {
  expect(judge(scores(0.1, 0.1), null, 0.05)).toEqual({
    verdict: "promoted",
    reason: "quality 0.100, no trained champion to compare with",
  });
});

const rate = (factor: number, smoothedQuality: number | null, measuredOn = "a") => ({
  factor,
  smoothedQuality,
  measuredOn,
});
const measured = (quality: number | null, set = "a") => ({ quality, set });

test("the learning rate rises with quality, falls with it, and rests in the dead band", () => {
  const state = rate(1, 0.6);
  expect(nextRate(state, measured(0.7), true)).toEqual(rate(1.05, expect.closeTo(0.65, 9)));
  expect(nextRate(state, measured(0.5), true)).toEqual(rate(0.9, expect.closeTo(0.55, 9)));
  expect(nextRate(state, measured(0.603), true).factor).toBe(1);
  expect(nextRate(state, measured(0.585), true).factor).toBe(1);
});

test("the learning rate keeps within its bounds and does not move without a measurement", () => {
  expect(nextRate(rate(3.99, 0.1), measured(0.9), true).factor).toBe(4);
  expect(nextRate(rate(0.101, 0.9), measured(0.1), false).factor).toBe(0.1);
  expect(nextRate(rate(2, 0.9), { quality: null, set: null }, true)).toEqual(rate(2, 0.9));
});

test("a rejected candidate cuts the rate but leaves the champions' quality as it was", () => {
  expect(nextRate(rate(1, 0.8), measured(0.2), false)).toEqual(rate(0.9, 0.8));
});

test("a rejected first candidate is not taken for the champions' quality", () => {
  expect(nextRate(rate(1, null), measured(0.2), false)).toEqual(rate(1, null));
  expect(nextRate(rate(1, null), measured(0.2), true)).toEqual(rate(1, 0.2));
});

test("on another set of streams smoothing begins anew, and the rate does not move for it", () => {
  expect(nextRate(rate(1, 0.8), measured(0.2, "b"), true)).toEqual(rate(1, 0.2, "b"));
  expect(nextRate(rate(1, 0.8), measured(0.2, "b"), false)).toEqual(rate(1, null, "b"));
  expect(nextRate(rate(1, 0.2, "b"), measured(0.4, "b"), true)).toEqual(rate(1.05, expect.closeTo(0.3, 9), "b"));
});

test("the loss trend is null where a loss was not measured", () => {
  expect([lossTrend(1, 0.9), lossTrend(1, 1.005), lossTrend(1, 1.1), lossTrend(null, 1)]).toEqual([
    "falling",
    "flat",
    "rising",
    null,
  ]);
});
