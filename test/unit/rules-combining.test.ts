import fc from "fast-check";
import { expect, test } from "vitest";
import { clipNorms } from "../../learning/aggregation/clip.ts";
import { coordinateMedian, trimmedMean } from "../../learning/aggregation/coordinate-rules.ts";
import { EmptyRoundError, InvalidRoundError } from "../../learning/aggregation/fedavg.ts";
import { krum } from "../../learning/aggregation/krum.ts";
import { combinePulls, type Pull, type PullRule } from "../../learning/aggregation/rules.ts";

const floats = (...values: number[]) => Float32Array.from(values);
const pulls = (...deltas: number[][]): Pull[] => deltas.map((delta) => ({ pull: floats(...delta), weight: 1 }));

const RULES: readonly PullRule[] = [
  { kind: "fedavg" },
  { kind: "median" },
  { kind: "trimmed_mean", share: 0.2 },
  { kind: "krum", faultyShare: 0.2 },
  { kind: "multi_krum", faultyShare: 0.2 },
];
const ROBUST = RULES.filter(({ kind }) => kind !== "fedavg");
const CLIPPED = RULES.map((rule): PullRule => ({ ...rule, clip: { medianMultiple: 1.5 } }));
const named = (rules: readonly PullRule[]) =>
  rules.map((rule) => [`${rule.kind}${rule.clip === undefined ? "" : ", clipped"}`, rule] as const);

test("the median takes the middle value of each coordinate, or the mean of the middle two", () => {
  const odd = pulls([1, 30], [2, -10], [100, 20]);
  expect([...combinePulls({ kind: "median" }, odd).delta]).toEqual([2, 20]);
  const even = pulls([4, 0], [1, 0], [2, 8], [100, 9]);
  expect([...combinePulls({ kind: "median" }, even).delta]).toEqual([3, 4]);
});

test("the trimmed mean drops a share from each side of each coordinate", () => {
  const five = pulls([1, 5], [2, 4], [3, 3], [7, 2], [-100, 100]);
  const { delta, clipped, excluded } = combinePulls({ kind: "trimmed_mean", share: 0.2 }, five);
  expect([...delta]).toEqual([2, 4]);
  expect([clipped, excluded]).toEqual([[], []]);
  expect([...trimmedMean(five.map(({ pull }) => pull))]).toEqual([2, 4]);
});

test("the trimmed mean drops nobody from fewer than one over the share, and always keeps one", () => {
  expect([...trimmedMean([floats(0), floats(0), floats(0), floats(8)], 0.2)]).toEqual([2]);
  expect([...trimmedMean([floats(1), floats(5), floats(90)], 0.49)]).toEqual([5]);
  expect([...trimmedMean([floats(7)], 0.49)]).toEqual([7]);
});

test("a share in decimals drops as many as a person counts", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => floats(i < 29 ? -1e6 : i < 71 ? 1 : 1e6));
  expect([...trimmedMean(hundred, 0.29)]).toEqual([1]);
});

test("only fedavg weighs", () => {
  const weighed = [
    { pull: floats(0), weight: 1 },
    { pull: floats(4), weight: 3 },
  ];
  expect([...combinePulls({ kind: "fedavg" }, weighed).delta]).toEqual([3]);
  for (const rule of ROBUST) expect([...combinePulls(rule, weighed).delta]).toEqual([2]);
});

test("krum takes the pull closest to its neighbours, multi-krum the mean of all but the furthest", () => {
  // n = 5, f = 1, two neighbours each: scores 1+4, 1+1, 1+4, 16+25+…, far.
  const five = pulls([0, 0], [1, 0], [2, 0], [6, 0], [0, 90]);
  expect(combinePulls({ kind: "krum", faultyShare: 0.2 }, five)).toEqual({
    delta: floats(1, 0),
    clipped: [],
    excluded: [0, 2, 3, 4],
  });
  expect(combinePulls({ kind: "multi_krum", faultyShare: 0.2 }, five)).toEqual({
    delta: floats(2.25, 0),
    clipped: [],
    excluded: [4],
  });
});

test("with fewer than 2f + 3 pulls krum gives the coordinate median and excludes nobody", () => {
  const deltas = [floats(0, 9), floats(1, 0), floats(50, 1), floats(2, 2)];
  // n = 4, f = 1: five would be needed.
  expect(krum(deltas, 0.25, "one")).toEqual({ delta: coordinateMedian(deltas), excluded: [] });
  expect(krum(deltas, 0.2, "one").excluded).toHaveLength(3);
  expect([...krum([floats(1), floats(3)], 0, "most").delta]).toEqual([2]);
});

test("pulls beyond a multiple of the median norm are shortened to it, and named", () => {
  // Norms 5, 10, 50: the median is 10.
  const three = pulls([3, 4], [0, 10], [30, -40]);
  const result = combinePulls({ kind: "fedavg", clip: { medianMultiple: 2 } }, three);
  expect(result.clipped).toEqual([2]);
  expect([...result.delta]).toEqual([5, -2 / 3].map(Math.fround));
  expect([...three.map(({ pull }) => [...pull])]).toEqual([
    [3, 4],
    [0, 10],
    [30, -40],
  ]);
});

test("pulls beyond an absolute norm are shortened to it", () => {
  const { deltas, clipped } = clipNorms([floats(3, 4), floats(0, 1)], { maxNorm: 2.5 });
  expect(deltas.map((delta) => [...delta])).toEqual([
    [1.5, 2],
    [0, 1],
  ]);
  expect(clipped).toEqual([0]);
  expect(clipNorms([floats(3e38, 0)], { maxNorm: 1 }).deltas).toEqual([floats(1, 0)]);
});

test("where most pulls are zero, a multiple of their median norm leaves nothing", () => {
  const { delta, clipped } = combinePulls({ kind: "fedavg", clip: { medianMultiple: 3 } }, pulls([0], [0], [9]));
  expect([...delta]).toEqual([0]);
  expect(clipped).toEqual([2]);
});

test.each(named([...RULES, ...CLIPPED]))("a pull of weight zero counts for nothing in %s", (_, rule) => {
  const counted = pulls([1, 1], [2, 1], [4, 0], [30, 40]);
  const idle = { pull: floats(-900, 900), weight: 0 };
  const alone = combinePulls(rule, counted);
  const beside = combinePulls(rule, [idle, ...counted]);
  expect(beside.delta).toEqual(alone.delta);
  expect(beside.clipped).toEqual(alone.clipped.map((i) => i + 1));
  expect(beside.excluded).toEqual([0, ...alone.excluded.map((i) => i + 1)]);
});

/** Pulls of whole numbers, so that sums are exact and no rounding decides between two of them. */
const round = (gateways: { minLength: number; maxLength: number }) =>
  fc.integer({ min: 1, max: 5 }).chain((parameters) =>
    fc.array(
      fc.record({
        pull: fc
          .array(fc.integer({ min: -50, max: 50 }), { minLength: parameters, maxLength: parameters })
          .map((values) => Float32Array.from(values)),
        weight: fc.integer({ min: 1, max: 1000 }),
      }),
      gateways,
    ),
  );

const expectClose = (actual: Float32Array, expected: Float32Array) => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => {
    expect(value).toBeCloseTo(Number(expected[i]), 3);
  });
};

test.each(named([...RULES, ...CLIPPED]))("the order of the pulls does not matter to %s", (_, rule) => {
  const shuffled = round({ minLength: 1, maxLength: 12 }).chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
  );
  fc.assert(
    fc.property(shuffled, ([list, other]) => {
      expectClose(combinePulls(rule, other).delta, combinePulls(rule, list).delta);
    }),
    { seed: 1 },
  );
});

test.each(named([...RULES, ...CLIPPED]))("equal pulls give themselves by %s", (_, rule) => {
  fc.assert(
    fc.property(round({ minLength: 1, maxLength: 12 }), (list) => {
      const pull = list[0]?.pull as Float32Array;
      const result = combinePulls(
        rule,
        list.map(({ weight }) => ({ pull, weight })),
      );
      expectClose(result.delta, pull);
      expect(result.clipped).toEqual([]);
    }),
    { seed: 2 },
  );
});

test.each(named(RULES))("moving every pull moves what %s gives", (_, rule) => {
  fc.assert(
    // Krum breaks a tie by the norm, which does not move along; the scores themselves do.
    fc.property(round({ minLength: 1, maxLength: 12 }), fc.integer({ min: -20, max: 20 }), (list, by) => {
      fc.pre(rule.kind !== "krum" && rule.kind !== "multi_krum" ? true : scoresDiffer(list));
      const moved = list.map(({ pull, weight }) => ({ pull: pull.map((value) => value + by), weight }));
      expectClose(
        combinePulls(rule, moved).delta,
        combinePulls(rule, list).delta.map((value) => value + by),
      );
    }),
    { seed: 3 },
  );
});

/** Whether no two pulls of `list` are at one score for a fifth faulty, worked out apart from the rule. */
function scoresDiffer(list: readonly Pull[]): boolean {
  const neighbours = list.length - Math.floor(list.length / 5) - 2;
  const scores = list.map(({ pull: a }, i) =>
    list
      .filter((_, j) => j !== i)
      .map(({ pull: b }) => a.reduce((sum, value, p) => sum + (value - Number(b[p])) ** 2, 0))
      .sort((x, y) => x - y)
      .slice(0, Math.max(0, neighbours))
      .reduce((x, y) => x + y, 0),
  );
  return new Set(scores).size === scores.length || list.length < 3;
}

/** What a gateway can be made to send: itself turned round and ×5, or as much as float32 holds. */
const attack = fc.oneof(
  fc.constant((honest: Float32Array) => honest.map((value) => -5 * value)),
  fc
    .constantFrom(3e38, -3e38, 1e20, -1e20, 1e6)
    .map((value) => (honest: Float32Array) => honest.map((_, i) => (i % 2 === 0 ? value : -value))),
);

/** Gateways that agree on where to go (10 … 12 in each coordinate), a fifth of them taken over, anywhere in the list. */
const attackedRound = fc.integer({ min: 1, max: 5 }).chain((fifth) =>
  fc.record({
    pulls: fc.array(fc.array(fc.integer({ min: 10, max: 12 }), { minLength: 3, maxLength: 3 }), {
      minLength: 5 * fifth,
      maxLength: 5 * fifth,
    }),
    faulty: fc.uniqueArray(fc.nat(5 * fifth - 1), { minLength: fifth, maxLength: fifth }),
    attack,
    claim: fc.constantFrom(1, 1e9),
  }),
);

test.each(named([...ROBUST, ...ROBUST.map((rule): PullRule => ({ ...rule, clip: { medianMultiple: 2 } }))]))(
  "a fifth of the gateways, lying however far, cannot move %s out of the honest range",
  (_, rule) => {
    fc.assert(
      fc.property(attackedRound, ({ pulls: all, faulty, attack: turn, claim }) => {
        const sent = all.map((values, i) => {
          const honest = floats(...values);
          return faulty.includes(i) ? { pull: turn(honest), weight: claim } : { pull: honest, weight: 1 };
        });
        const honest = all.filter((_, i) => !faulty.includes(i));
        const { delta, excluded } = combinePulls(rule, sent);
        delta.forEach((value, p) => {
          const column = honest.map((values) => Number(values[p]));
          expect(value).toBeGreaterThanOrEqual(Math.min(...column));
          expect(value).toBeLessThanOrEqual(Math.max(...column));
        });
        if (rule.kind === "multi_krum") expect(excluded).toEqual([...faulty].sort((a, b) => a - b));
      }),
      { seed: 4 },
    );
  },
);

test("the same fifth takes the plain mean wherever it likes, and clipping holds it back", () => {
  const sent = pulls([10], [10], [10], [10], [-50]);
  expect(combinePulls({ kind: "fedavg" }, sent).delta[0]).toBe(-2);
  expect(combinePulls({ kind: "fedavg", clip: { medianMultiple: 1 } }, sent).delta[0]).toBe(6);
});

test.each(named([...RULES, ...CLIPPED]))("%s refuses what cannot be combined", (_, rule) => {
  const combine = (...list: Pull[]) => combinePulls(rule, list);
  const one = { pull: floats(1), weight: 1 };
  expect(() => combine()).toThrow(EmptyRoundError);
  expect(() => combine(one, { pull: floats(1, 2), weight: 1 })).toThrow(InvalidRoundError);
  expect(() => combine(one, { pull: floats(Number.NaN), weight: 1 })).toThrow(InvalidRoundError);
  expect(() => combine(one, { pull: floats(Number.POSITIVE_INFINITY), weight: 0 })).toThrow(InvalidRoundError);
  expect(() => combine({ ...one, weight: 0 }, { ...one, weight: 0 })).toThrow(InvalidRoundError);
  expect(() => combine(one, { ...one, weight: -1 })).toThrow(InvalidRoundError);
  expect(() => combine(one, { ...one, weight: Number.NaN })).toThrow(InvalidRoundError);
});

test("the rules themselves refuse an empty round", () => {
  expect(() => coordinateMedian([])).toThrow(EmptyRoundError);
  expect(() => trimmedMean([], 0.2)).toThrow(EmptyRoundError);
  expect(() => krum([], 0.2, "one")).toThrow(EmptyRoundError);
  expect(clipNorms([], { medianMultiple: 2 })).toEqual({ deltas: [], clipped: [] });
});

test.each<PullRule>([
  { kind: "trimmed_mean", share: 0.5 },
  { kind: "trimmed_mean", share: -0.1 },
  { kind: "krum", faultyShare: 0.5 },
  { kind: "multi_krum", faultyShare: Number.NaN },
  { kind: "median", clip: { medianMultiple: 0 } },
  { kind: "median", clip: { maxNorm: Number.POSITIVE_INFINITY } },
])("%j is out of range", (rule) => {
  expect(() => combinePulls(rule, pulls([1], [2], [3]))).toThrow(RangeError);
});
