import fc from "fast-check";
import { expect, test } from "vitest";
import { coordinateMedian, withoutRulingMinority } from "../../learning/aggregation/coordinate-rules.ts";
import { InvalidRoundError } from "../../learning/aggregation/fedavg.ts";
import { combinePulls, type Pull, type PullRule } from "../../learning/aggregation/rules.ts";

const ROBUST: readonly PullRule[] = [
  { kind: "median" },
  { kind: "trimmed_mean", share: 0.2 },
  { kind: "krum", faultyShare: 0.2 },
  { kind: "multi_krum", faultyShare: 0.2 },
];
const RULES: readonly PullRule[] = [{ kind: "fedavg" }, ...ROBUST];
const named = (rules: readonly PullRule[]) => rules.map((rule) => [rule.kind, rule] as const);

const pull = (value: number, voice: number): Pull => ({ pull: Float32Array.of(value), weight: 1, voice });
const combined = (rule: PullRule, ...pulls: Pull[]) => combinePulls(rule, pulls).delta[0];

test.each([
  ["the mean weighs by weight and voice", { kind: "fedavg" }, (4 * 1 + 0.5 * 10) / 4.5],
  // Voices of 4.5 in all; 2.25 are reached at 1.
  ["the median is where half of the voices are", { kind: "median" }, 1],
  ["the trimmed mean cuts by number and weighs what is left", { kind: "trimmed_mean", share: 0.2 }, 1],
  ["multi-krum leaves out by number and weighs what is left", { kind: "multi_krum", faultyShare: 0.2 }, 1],
] as const)("%s", (_, rule, expected) => {
  expect(combined(rule, pull(1, 1), pull(1, 1), pull(1, 1), pull(1, 1), pull(10, 0.5))).toBeCloseTo(expected, 6);
});

test("what is kept of two that differ leans to the stronger voice", () => {
  const others = [pull(0, 1), pull(0, 1), pull(2, 1)];
  const by = (rule: PullRule, voice: number) => combined(rule, ...others, pull(2, voice), pull(9, 1)) ?? Number.NaN;
  // Kept: 0 and 2 of the strong, 2 of the weak.
  expect(by({ kind: "trimmed_mean", share: 0.2 }, 0.5)).toBeCloseTo((0 + 2 + 2 * 0.5) / 2.5, 6);
  expect(by({ kind: "multi_krum", faultyShare: 0.2 }, 0.5)).toBeCloseTo((0 + 0 + 2 + 2 * 0.5) / 3.5, 6);
});

test("krum chooses whatever the voices are, and shortens what a weak one says", () => {
  const pulls = (voice: number) => [pull(0, 1), pull(1, voice), pull(2.2, 1), pull(6, 1), pull(90, 1)];
  expect(combined({ kind: "krum", faultyShare: 0.2 }, ...pulls(1))).toBe(1);
  expect(combined({ kind: "krum", faultyShare: 0.2 }, ...pulls(0.25))).toBe(0.25);
});

test.each(named(RULES))("voices that are alike change nothing about %s, whatever they are", (_, rule) => {
  const values = [3, -4, 7, 1, 2, 50, -6];
  const plain = combinePulls(
    rule,
    values.map((value, n) => ({ pull: Float32Array.of(value, -value), weight: 1 + n })),
  );
  const quiet = combinePulls(
    rule,
    values.map((value, n) => ({ pull: Float32Array.of(value, -value), weight: 1 + n, voice: 0.3 })),
  );
  expect(quiet.excluded).toEqual(plain.excluded);
  for (const [i, value] of quiet.delta.entries()) expect(value).toBeCloseTo(plain.delta[i] ?? Number.NaN, 5);
});

const voice = fc.double({ min: 0.1, max: 1, noNaN: true });

/** Honest gateways pull 10 … 12 in each coordinate and may all be hardly heard; the others lie, and are heard whole. */
const attacked = (faultyOf: (gateways: number) => number) =>
  fc.integer({ min: 5, max: 25 }).chain((n) =>
    fc.record({
      honest: fc.array(
        fc.record({
          values: fc.array(fc.integer({ min: 10, max: 12 }), { minLength: 3, maxLength: 3 }),
          voice,
        }),
        { minLength: n - faultyOf(n), maxLength: n - faultyOf(n) },
      ),
      lie: fc.constantFrom(-60, 1e6, -1e20, 3e38),
      faulty: fc.constant(faultyOf(n)),
    }),
  );

const holds = (rule: PullRule, faultyOf: (gateways: number) => number) =>
  fc.assert(
    fc.property(attacked(faultyOf), ({ honest, lie, faulty }) => {
      const { delta } = combinePulls(rule, [
        ...Array.from({ length: faulty }, () => ({ pull: new Float32Array(3).fill(lie), weight: 1e9, voice: 1 })),
        ...honest.map((one) => ({ pull: Float32Array.from(one.values), weight: 1, voice: one.voice })),
      ]);
      delta.forEach((value, p) => {
        const column = honest.map(({ values }) => values[p] as number);
        // Krum shortens what it chooses, to a tenth at most.
        expect(value).toBeGreaterThanOrEqual(Math.min(...column) * (rule.kind === "krum" ? 0.1 : 1) - 1e-5);
        expect(value).toBeLessThanOrEqual(Math.max(...column) + 1e-5);
      });
    }),
    { seed: 5 },
  );

test.each(named(ROBUST))(
  "a fifth that lies and is heard whole cannot move %s out of the range of the rest",
  (_, rule) => {
    holds(rule, (gateways) => Math.floor(gateways / 5));
  },
);

test("nor can any minority move the median", () => {
  holds({ kind: "median" }, (gateways) => Math.floor((gateways - 1) / 2));
});

test("the weakest voices are raised no further than it takes, and not where nobody rules", () => {
  expect(withoutRulingMinority([1, 1, 1, 1, 0.1])).toEqual([1, 1, 1, 1, 0.1]);
  const raised = withoutRulingMinority([1, 1, 0.1, 0.1, 0.1]);
  expect(raised.slice(0, 2)).toEqual([1, 1]);
  for (const each of raised.slice(2)) expect(each).toBeCloseTo(2 / 3, 6);
  expect(raised[2]).toBeGreaterThan(2 / 3);
  expect(withoutRulingMinority([])).toEqual([]);
  expect(withoutRulingMinority([0.1])).toEqual([0.1]);
});

test("a weak voice moves the median where the others are as many on either side", () => {
  const deltas = [0, 1, 5, 6].map((value) => Float32Array.of(value));
  expect([...coordinateMedian(deltas)]).toEqual([3]);
  expect([...coordinateMedian(deltas, [1, 1, 0.5, 1])]).toEqual([1]);
});

test.each(named(RULES))("%s refuses a voice that is none", (_, rule) => {
  for (const none of [0, -1, 1.01, Number.NaN])
    expect(() => combined(rule, pull(1, 1), pull(1, none), pull(1, 1))).toThrow(InvalidRoundError);
});
