import { describe, expect, test } from "vitest";
import { combineUpdates, type GatewayPart, type RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import { FULL_STANDING, type GatewayStanding, nextStanding } from "../../coordinator/core/gateway-standing.ts";
import type { PullRule } from "../../learning/aggregation/rules.ts";
import { seededRandom } from "../../learning/random.ts";

const GOOD: GatewayPart = { agreement: 0.9, withOthers: 0.8, part: "counted" };
const after = (parts: readonly GatewayPart[], from = FULL_STANDING, promoted = true) =>
  parts.reduce((standing, part) => nextStanding(standing, part, promoted), from);

test("pulling against the others lowers it at once, round by round, and never below a tenth", () => {
  const against: GatewayPart = { agreement: 0.9, withOthers: -0.7, part: "counted" };
  expect(after([against])).toEqual({
    value: 0.8,
    roundsApart: 0,
    reason: "it pulled against the others (cosine -0.70)",
  });
  expect(after([against, against]).value).toBeCloseTo(0.64, 9);
  expect(after(Array.from({ length: 50 }, () => against)).value).toBe(0.1);
  expect(after([against], FULL_STANDING, false).value).toBe(0.8);
});

test("standing apart once says nothing, since rules leave out honest gateways too; again and again it does", () => {
  const excluded: GatewayPart = { agreement: 0, withOthers: 0.02, part: "excluded" };
  expect(after([excluded])).toEqual({ value: 1, roundsApart: 1, reason: null });
  expect(after([excluded, excluded])).toMatchObject({ value: 0.8, roundsApart: 2 });
  expect(after([excluded, excluded]).reason).toBe("its pull was excluded, apart for 2 rounds in a row");
  expect(after([excluded, GOOD, { ...excluded, part: "clipped" }, GOOD, excluded]).value).toBe(1);
});

test("one that goes with the others is not blamed for being clipped or left out, however often", () => {
  const excluded: GatewayPart = { ...GOOD, part: "excluded" };
  expect(after(Array.from({ length: 20 }, () => excluded))).toEqual(FULL_STANDING);
  expect(after([excluded], { value: 0.4, roundsApart: 1, reason: "why" })).toMatchObject({
    value: 0.5,
    roundsApart: 0,
  });
});

test("it comes back by rounds that were promoted and counted it whole, and says so until it is whole", () => {
  const low: GatewayStanding = { value: 0.512, roundsApart: 3, reason: "why" };
  expect(after([GOOD], low)).toMatchObject({ value: expect.closeTo(0.64, 9), roundsApart: 0, reason: "why" });
  expect(after([GOOD, GOOD, GOOD], low)).toEqual(FULL_STANDING);
  expect(after([GOOD], low, false).value).toBe(0.512);
  expect(after([{ ...GOOD, withOthers: -0.05 }], low).value).toBe(0.512);
});

test("of two gateways nobody can say which is astray: neither loses", () => {
  const apart: GatewayPart = { agreement: -0.9, withOthers: null, part: "counted" };
  expect(after([apart, apart, apart])).toEqual(FULL_STANDING);
});

const RULES: readonly PullRule[] = [
  { kind: "fedavg" },
  { kind: "fedavg", clip: { medianMultiple: 2 } },
  { kind: "median" },
  { kind: "trimmed_mean", share: 0.2 },
  { kind: "krum", faultyShare: 0.2 },
  { kind: "multi_krum", faultyShare: 0.2 },
];

/** Standings of 15 gateways after 60 rounds of pulls that share a direction; the last `liars` turn it round, ×5. */
function standingsAfterRounds(rule: PullRule, liars: number): number[] {
  const random = seededRandom(11);
  const standings = new Map<string, GatewayStanding>();
  for (let round = 0; round < 60; round++) {
    const updates = Array.from({ length: 15 }, (_, n): RoundUpdate => {
      const lies = n >= 15 - liars;
      const delta = Float32Array.from({ length: 200 }, () => (lies ? -5 : 1) * (0.5 + random.normal()));
      return { updateId: "", gatewayId: `gw-${n}`, baseVersion: 1, samples: 50, receivedAtMs: 0, delta };
    });
    const known = (gateway: string) => standings.get(gateway) ?? FULL_STANDING;
    const { gateways } = combineUpdates(
      rule,
      updates,
      () => 0,
      (gateway) => known(gateway).value,
    );
    for (const [gateway, part] of gateways) standings.set(gateway, nextStanding(known(gateway), part, true));
  }
  return Array.from({ length: 15 }, (_, n) => standings.get(`gw-${n}`)?.value ?? Number.NaN);
}

describe.each(RULES.map((rule) => [rule.kind + (rule.clip ? ", clipped" : ""), rule] as const))("by %s", (_, rule) => {
  test("gateways that turn the pull round end at a tenth, and the others keep their voices", () => {
    const standings = standingsAfterRounds(rule, 3);
    expect(standings.slice(12)).toEqual([0.1, 0.1, 0.1]);
    expect(standings.slice(0, 12)).toEqual(Array.from({ length: 12 }, () => 1));
  });

  test("where nobody lies, every voice stays whole", () => {
    expect(new Set(standingsAfterRounds(rule, 0))).toEqual(new Set([1]));
  });
});
