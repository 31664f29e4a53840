import fc from "fast-check";
import { expect, test } from "vitest";
import { excessQuantile, fitGpd, type Gpd, meanLogLikelihood } from "../../learning/gpd.ts";
import { seededRandom } from "../../learning/random.ts";
import { QuantileSketch } from "../../learning/sketch.ts";
import type { SpotRule } from "../../learning/spot.ts";
import {
  fitThreshold,
  type OperatorLabel,
  pooledFactor,
  ratioSketch,
  stepOperatorFactor,
  type ThresholdRule,
} from "../../learning/threshold-rules.ts";

const draws = (n: number, seed: number, draw: (random: ReturnType<typeof seededRandom>) => number) => {
  const random = seededRandom(seed);
  return Float64Array.from({ length: n }, () => draw(random));
};
const exponentials = (n: number, seed: number) => draws(n, seed, (random) => -Math.log(1 - random.next()));
const gpdDraws = (gpd: Gpd, n: number, seed: number) =>
  draws(n, seed, (random) => excessQuantile(gpd, 1 - random.next()));

const SPOT: SpotRule = { kind: "spot", level: 0.98, risk: 1e-3, maxExcesses: 500 };
const FITTED_RULES: Exclude<ThresholdRule, { kind: "fixed" }>[] = [
  { kind: "quantile", quantile: 0.99 },
  SPOT,
  { kind: "conformal", alpha: 0.01 },
  { kind: "federated_conformal", quantile: 0.999 },
];

test("the conformal threshold is the ⌈(n+1)(1−α)⌉-th smallest score", () => {
  const scores = Float64Array.from({ length: 99 }, (_, i) => 99 - i);
  const at = (alpha: number) => fitThreshold({ kind: "conformal", alpha }, scores);
  expect(at(0.05)).toEqual({ threshold: 95, note: null });
  expect(at(0.055)).toEqual({ threshold: 95, note: null });
  expect(at(0.01)).toEqual({ threshold: 99, note: null });
  // ⌈100 · 0.991⌉ = 100 scores would be needed.
  expect(at(0.009)).toEqual({ threshold: null, note: "tooFewScores" });
});

test("no more than α of exchangeable scores are over the conformal threshold", () => {
  const alpha = 0.1;
  let over = 0;
  for (let trial = 0; trial < 4000; trial++) {
    const scores = exponentials(40, trial + 1);
    const threshold = fitThreshold({ kind: "conformal", alpha }, scores.subarray(0, 39)).threshold as number;
    if ((scores[39] as number) > threshold) over++;
  }
  // ⌊40 · 0.1⌋ / 40 = 0.1 exactly for continuous scores, ± three standard errors.
  expect(Math.abs(over / 4000 - alpha)).toBeLessThan(3 * Math.sqrt((0.1 * 0.9) / 4000));
});

test("below the least number of scores there is no threshold, and scores that are not finite do not count", () => {
  for (const rule of FITTED_RULES) {
    const least = { quantile: 30, federated_conformal: 30, conformal: 99, spot: 100 }[rule.kind];
    const scores = [...exponentials(least - 1, 3), Number.NaN, Number.POSITIVE_INFINITY];
    expect(fitThreshold(rule, scores, 3)).toEqual({ threshold: null, note: "tooFewScores" });
    const enough = fitThreshold(rule, [...scores, 1], 3);
    expect(Number.isFinite(enough.threshold)).toBe(true);
    expect(enough).toEqual(fitThreshold(rule, [...scores, 1].filter(Number.isFinite), 3));
    expect(fitThreshold(rule, []).threshold).toBeNull();
  }
});

test("constant scores are not over their own threshold, zeros included", () => {
  for (const rule of FITTED_RULES) {
    expect(fitThreshold(rule, new Float32Array(200).fill(0.25), 1).threshold).toBe(0.25);
    expect(fitThreshold(rule, new Float32Array(200), 3).threshold).toBe(0);
  }
  expect(fitThreshold(SPOT, new Float32Array(200).fill(0.25)).note).toBe("noTail");
});

test("thresholds scale with the scores, whatever their unit", () => {
  const scores = exponentials(400, 5);
  for (const rule of FITTED_RULES) {
    const plain = fitThreshold(rule, scores, 6).threshold as number;
    for (const unit of [1e9, 1e-9]) {
      const scaled = fitThreshold(
        rule,
        scores.map((score) => score * unit),
        6,
      ).threshold as number;
      expect(scaled / unit / plain).toBeCloseTo(1, 6);
    }
  }
});

test("a fixed threshold is the same whatever the scores, and without any", () => {
  for (const scores of [exponentials(200, 1), new Float64Array(3), []]) {
    expect(fitThreshold({ kind: "fixed", threshold: 0.5 }, scores, 3)).toEqual({ threshold: 0.5, note: null });
  }
});

test("rules outside their bounds are refused", () => {
  const scores = exponentials(200, 1);
  for (const share of [0, 1, -1, Number.NaN]) {
    expect(() => fitThreshold({ kind: "quantile", quantile: share }, scores)).toThrow(RangeError);
    expect(() => fitThreshold({ kind: "conformal", alpha: share }, scores)).toThrow(RangeError);
    expect(() => fitThreshold({ kind: "federated_conformal", quantile: share }, scores)).toThrow(RangeError);
    expect(() => fitThreshold({ ...SPOT, level: share }, scores)).toThrow(RangeError);
    expect(() => pooledFactor([], share)).toThrow(RangeError);
  }
  expect(() => fitThreshold({ ...SPOT, risk: 0.03 }, scores)).toThrow(RangeError);
  expect(() => fitThreshold({ ...SPOT, maxExcesses: 9 }, scores)).toThrow(RangeError);
  expect(() => fitThreshold({ kind: "federated_conformal", quantile: 0.9 }, scores, 0)).toThrow(RangeError);
});

test.each([-0.4, -0.1, 0, 0.2, 0.6, 1.2])("a Pareto tail of shape %d is found again", (shape) => {
  const fit = fitGpd(gpdDraws({ shape, scale: 5 }, 4000, 17)) as Gpd;
  expect(Math.abs(fit.shape - shape)).toBeLessThan(0.07);
  expect(Math.abs(fit.scale / 5 - 1)).toBeLessThan(0.08);
});

test("no shape and scale nearby, and none of a wide grid, is likelier than the fit", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 200, max: 400 }), fc.integer({ min: -3, max: 15 }), (seed, n, s) => {
      const excesses = gpdDraws({ shape: s / 10, scale: 2 }, n, seed);
      const fit = fitGpd(excesses) as Gpd;
      const best = meanLogLikelihood(fit, excesses);
      expect(best).toBeGreaterThanOrEqual(
        meanLogLikelihood({ shape: 0, scale: excesses.reduce((a, b) => a + b) / n }, excesses),
      );
      for (let shape = -0.45; shape < 3; shape += 0.2) {
        for (let scale = 0.2; scale < 12; scale *= 1.4) {
          expect(best).toBeGreaterThanOrEqual(meanLogLikelihood({ shape, scale }, excesses) - 1e-9);
        }
      }
    }),
    { seed: 1, numRuns: 25 },
  );
});

test("ten excesses are fitted no worse than by an exponential, and within reach of their largest", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 10, max: 30 }), fc.integer({ min: -10, max: 15 }), (seed, n, s) => {
      const excesses = gpdDraws({ shape: s / 10, scale: 2 }, n, seed);
      const fit = fitGpd(excesses) as Gpd;
      const exponential = { shape: 0, scale: excesses.reduce((a, b) => a + b) / n };
      expect(meanLogLikelihood(fit, excesses)).toBeGreaterThanOrEqual(meanLogLikelihood(exponential, excesses) - 1e-12);
      expect(fit.shape).toBeGreaterThanOrEqual(-1);
      expect(excessQuantile(fit, 1e-12)).toBeGreaterThanOrEqual(Math.max(...excesses));
    }),
    { seed: 1, numRuns: 200 },
  );
});

test("without a stationary likelihood, probability-weighted moments stand in", () => {
  // α₀ = 2, α₁ = (1·0.675 + 3·0.175) / 2 = 0.6: shape = 2 − 2/(2 − 1.2), scale = 2·2·0.6/(2 − 1.2).
  const fit = fitGpd([3, 1]) as Gpd;
  expect(fit.shape).toBeCloseTo(-0.5, 12);
  expect(fit.scale).toBeCloseTo(3, 12);
});

test("the density and the quantile have their textbook values", () => {
  expect(meanLogLikelihood({ shape: 0, scale: 2 }, [2, 4])).toBeCloseTo(-Math.log(2) - 1.5, 12);
  expect(meanLogLikelihood({ shape: 0.5, scale: 1 }, [2])).toBeCloseTo(-3 * Math.log(2), 12);
  expect(meanLogLikelihood({ shape: -0.5, scale: 1 }, [2])).toBe(Number.NEGATIVE_INFINITY);
  expect(excessQuantile({ shape: 0, scale: 3 }, Math.exp(-2))).toBeCloseTo(6, 12);
  // P(Y > 6) = (1 + 0.5·6/1)^−2 = 1/16.
  expect(excessQuantile({ shape: 0.5, scale: 1 }, 1 / 16)).toBeCloseTo(6, 12);
  expect(excessQuantile({ shape: Number.MIN_VALUE, scale: 3 }, Math.exp(-2))).toBeCloseTo(6, 12);
});

test("excesses without a tail are not fitted", () => {
  for (const excesses of [[], [1], [2, 2, 2], [1, 0, 3], [1, Number.NaN], [1, Number.POSITIVE_INFINITY]]) {
    expect(fitGpd(excesses)).toBeNull();
  }
});

test("SPOT's threshold is about where normal scores go with the risk", () => {
  // Exponential: exceeded with 1e-3 at ln 1000. Pareto of index 2: at √1000.
  const typical = (scores: (seed: number) => Float64Array) => {
    const thresholds = Array.from(
      { length: 31 },
      (_, seed) => fitThreshold(SPOT, scores(seed + 1)).threshold as number,
    );
    return thresholds.toSorted((a, b) => a - b)[15] as number;
  };
  expect(Math.abs(typical((seed) => exponentials(4000, seed)) / Math.log(1000) - 1)).toBeLessThan(0.06);
  const pareto = typical((seed) => exponentials(4000, seed).map((e) => Math.exp(e / 2)));
  expect(Math.abs(pareto / Math.sqrt(1000) - 1)).toBeLessThan(0.15);
});

test("SPOT fits its tail to no more excesses than it may, from a higher level, and means the same risk", () => {
  const scores = exponentials(20_000, 2);
  const few = fitThreshold({ ...SPOT, maxExcesses: 40 }, scores).threshold as number;
  expect(few).not.toBe(fitThreshold(SPOT, scores).threshold);
  expect(Math.abs(few / Math.log(1000) - 1)).toBeLessThan(0.15);
});

test("too many ties for a tail: SPOT stands at the largest score", () => {
  const scores = new Float64Array(1000);
  scores.set([1, 2, 3], 500);
  expect(fitThreshold(SPOT, scores)).toEqual({ threshold: 3, note: "noTail" });
});

const FEDERATED: ThresholdRule = { kind: "federated_conformal", quantile: 0.999 };
const fleetScores = (device: number) => exponentials(400, 100 + device).map((score) => score * 10 ** (device % 5));

/** An honest sketch whose largest quarter is a million times too large. */
const liar = (device: number) =>
  ratioSketch(
    fleetScores(device).map((score, i) => (i < 100 ? score * 1e6 : score)),
    device,
  ) as QuantileSketch;

test("the fleet's factor is the quantile of every device's scores over its own median", () => {
  const devices = Array.from({ length: 50 }, (_, device) => fleetScores(device));
  const sketches = devices.map((scores, device) => ratioSketch(scores, device) as QuantileSketch);
  const { factor, leftOut } = pooledFactor(sketches, 0.999);
  const ratios = devices.flatMap((scores) => {
    const sorted = scores.toSorted();
    const median = ((sorted[199] as number) + (sorted[200] as number)) / 2;
    return [...scores].map((score) => score / median);
  });
  expect(leftOut).toEqual([]);
  expect(factor).toBe(Math.fround(ratios.toSorted((a, b) => a - b)[19_979] as number));
  // A device's threshold is that many times its own median, in its own unit.
  const scores = Float64Array.from({ length: 101 }, (_, i) => 3 * i * i);
  expect(fitThreshold(FEDERATED, scores, factor)).toEqual({ threshold: 7500 * (factor as number), note: null });
  expect(sketches[0]?.count).toBe(400);
});

test("a pooled threshold keeps the risk that a single device's scores could not show", () => {
  const sketches = Array.from(
    { length: 50 },
    (_, device) => ratioSketch(fleetScores(device), device) as QuantileSketch,
  );
  const { factor } = pooledFactor(sketches, 0.999);
  const shares = Array.from({ length: 21 }, (_, seed) => {
    const { threshold } = fitThreshold(FEDERATED, exponentials(400, seed + 700), factor);
    return exponentials(50_000, seed + 800).filter((score) => score > (threshold as number)).length / 50_000;
  });
  const typical = shares.toSorted((a, b) => a - b)[10];
  expect(typical).toBeGreaterThan(0.0005);
  expect(typical).toBeLessThan(0.002);
});

test("one gateway that lies about its tail does not set the fleet's factor", () => {
  const honest = Array.from({ length: 9 }, (_, device) => ratioSketch(fleetScores(device), device) as QuantileSketch);
  const small = QuantileSketch.empty({ seed: 11, k: 16 });
  small.add(1);
  const pooled = pooledFactor([liar(9), ...honest, small, QuantileSketch.empty({ seed: 12 })], 0.999);
  expect(pooled).toEqual({ factor: pooledFactor(honest, 0.999).factor, leftOut: [0, 10, 11] });
});

test("of two gateways that tell stories too far apart neither is believed", () => {
  const honest = ratioSketch(fleetScores(1), 1) as QuantileSketch;
  expect(pooledFactor([honest, liar(2)], 0.999)).toEqual({ factor: null, leftOut: [0, 1] });
  expect(pooledFactor([honest, ratioSketch(fleetScores(2), 2) as QuantileSketch], 0.999).leftOut).toEqual([]);
});

test("a gateway with many devices has one voice like any other", () => {
  const sketches = Array.from({ length: 9 }, (_, device) => ratioSketch(fleetScores(device), device) as QuantileSketch);
  const many = QuantileSketch.empty({ k: 64, tail: 64, seed: 10 });
  for (let copy = 0; copy < 20; copy++) many.merge(sketches[0] as QuantileSketch);
  const { factor, leftOut } = pooledFactor([...sketches, many], 0.99);
  expect(leftOut).toEqual([]);
  expect(factor).toBeCloseTo(Number(pooledFactor([...sketches, sketches[0] as QuantileSketch], 0.99).factor), 1);
});

test("a fleet moves a device's threshold at most fourfold from what its own scores say", () => {
  const scores = Float64Array.from({ length: 2000 }, (_, i) => i + 1);
  expect(fitThreshold(FEDERATED, scores, 1e9)).toEqual({ threshold: 4 * 1998, note: null });
  expect(fitThreshold(FEDERATED, scores, 1e-9)).toEqual({ threshold: 1998 / 4, note: null });
});

test("without anything to pool there is no factor, and one device pools alone", () => {
  expect(pooledFactor([], 0.999)).toEqual({ factor: null, leftOut: [] });
  expect(pooledFactor([QuantileSketch.empty({ seed: 1 })], 0.999)).toEqual({ factor: null, leftOut: [0] });
  const alone = ratioSketch(fleetScores(1), 1) as QuantileSketch;
  const before = alone.serialise();
  expect(pooledFactor([alone], 0.5).factor).toBeCloseTo(1, 1);
  expect(alone.serialise()).toEqual(before);
});

test("before the fleet has a factor, and where the median is zero, a device stands by its own scores", () => {
  const scores = Float64Array.from({ length: 2000 }, (_, i) => i + 1);
  expect(fitThreshold(FEDERATED, scores)).toEqual({ threshold: 1998, note: "noFleetFactor" });
  const mostlyZero = Float64Array.from({ length: 100 }, (_, i) => Math.max(0, i - 60));
  expect(fitThreshold(FEDERATED, mostlyZero, 3)).toEqual({ threshold: 39, note: "zeroMedian" });
  expect(ratioSketch(mostlyZero, 1)).toBeNull();
  expect(ratioSketch(new Float64Array(29).fill(1), 1)).toBeNull();
  expect(ratioSketch([...new Float64Array(30).fill(2), Number.NaN], 1)?.quantile(1)).toBe(1);
});

const falseAlarm = (score: number): OperatorLabel => ({ kind: "falseAlarm", score });
const missed = (score: number): OperatorLabel => ({ kind: "missed", score });

test("a false alarm raises the threshold to just above its score, a missed event lowers it to just below", () => {
  expect(stepOperatorFactor(1, 10, falseAlarm(15))).toBeCloseTo(1.515, 12);
  expect(stepOperatorFactor(1, 10, missed(8))).toBeCloseTo(0.792, 12);
  expect(stepOperatorFactor(1.515, 10, missed(12))).toBeCloseTo(1.188, 12);
  // Already there.
  expect(stepOperatorFactor(1, 10, falseAlarm(9))).toBe(1);
  expect(stepOperatorFactor(1, 10, missed(11))).toBe(1);
});

test("operators move a threshold between half and twice the rule's, and never by what is no number", () => {
  expect(stepOperatorFactor(1, 10, falseAlarm(1e9))).toBe(2);
  expect(stepOperatorFactor(1, 10, missed(0))).toBe(0.5);
  for (const score of [Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(stepOperatorFactor(1.2, 10, falseAlarm(score))).toBe(1.2);
    expect(stepOperatorFactor(1.2, 10, missed(score))).toBe(1.2);
  }
  expect(stepOperatorFactor(1.2, 0, falseAlarm(3))).toBe(1.2);
  expect(stepOperatorFactor(1.2, Number.NaN, falseAlarm(3))).toBe(1.2);
  for (const factor of [0.4, 2.1, Number.NaN]) {
    expect(() => stepOperatorFactor(factor, 10, falseAlarm(3))).toThrow(RangeError);
  }
});

test("after any labels the factor is within bounds, and the last label holds where the bounds let it", () => {
  const label = fc.record({
    kind: fc.constantFrom<OperatorLabel["kind"]>("falseAlarm", "missed"),
    score: fc.double({ min: 0, max: 50, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(label, { minLength: 1 }), fc.double({ min: 0.1, max: 20, noNaN: true }), (labels, rule) => {
      const factor = labels.reduce((current, each) => stepOperatorFactor(current, rule, each), 1);
      expect(factor).toBeGreaterThanOrEqual(0.5);
      expect(factor).toBeLessThanOrEqual(2);
      const { kind, score } = labels.at(-1) as OperatorLabel;
      const isOver = score > factor * rule;
      if (kind === "falseAlarm" && factor < 2) expect(isOver).toBe(false);
      if (kind === "missed" && factor > 0.5 && score > 0) expect(isOver).toBe(true);
    }),
    { seed: 1 },
  );
});
