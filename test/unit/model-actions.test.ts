import { expect, test } from "vitest";
import { byGateway, contributionsOf } from "../../coordinator/core/contributions.ts";
import { underPin } from "../../coordinator/core/gate.ts";
import {
  type ChampionStanding,
  refusalOfChange,
  refusalOfPin,
  type TargetStanding,
} from "../../coordinator/core/model-actions.ts";
import { versionsToArchive } from "../../coordinator/core/model-archive.ts";

const PLAN = "a".repeat(64);
const PIN = { by: "ada", reason: "audit" };
const champion: ChampionStanding = { planId: PLAN, version: 5, origin: 5, pin: null };
const target = (change: Partial<TargetStanding> = {}): TargetStanding => ({
  planId: PLAN,
  version: 3,
  origin: 3,
  status: "champion",
  weights: "at_hand",
  ...change,
});

test.each([
  ["promote", "rejected"],
  ["promote", "candidate"],
  ["roll_back", "champion"],
  ["roll_back", "rolled_back"],
] as const)("%s may make a champion of a version that is %s, from the archive too", (kind, status) => {
  expect(refusalOfChange(kind, champion, target({ status }))).toBeNull();
  expect(refusalOfChange(kind, champion, target({ status, weights: "archived" }))).toBeNull();
});

test.each([
  ["promote", target(), "version 3 was champion before: roll back to it"],
  ["promote", target({ status: "rolled_back" }), "version 3 was champion before: roll back to it"],
  ["roll_back", target({ status: "rejected" }), "version 3 was never champion: promote it"],
  ["roll_back", target({ status: "candidate" }), "version 3 was never champion: promote it"],
  ["roll_back", target({ version: 5, origin: 5 }), "version 5 is the champion"],
  ["roll_back", target({ weights: "dropped" }), "the weights of version 3 were dropped from the archive"],
  [
    "roll_back",
    target({ planId: "b".repeat(64) }),
    "version 3 is of plan bbbbbbbbbbbb, the cohort learns by aaaaaaaaaaaa",
  ],
] as const)("%s is refused with its reason: case %#", (kind, of, why) => {
  expect(refusalOfChange(kind, champion, of)).toBe(why);
});

test("a version whose weights the champion has already changes nothing, whatever its number", () => {
  const rolledBack = { ...champion, version: 8, origin: 3 };
  expect(refusalOfChange("roll_back", rolledBack, target())).toBe("the champion, version 8, has its weights already");
  expect(refusalOfChange("roll_back", rolledBack, target({ version: 6, origin: 3 }))).toContain("already");
  expect(refusalOfChange("roll_back", rolledBack, target({ version: 4, origin: 4 }))).toBeNull();
});

test("a pinned champion stays until it is unpinned, and is pinned once", () => {
  const pinned = { ...champion, pin: PIN };
  expect(refusalOfChange("roll_back", pinned, target())).toBe("version 5 is pinned by ada: audit: unpin it first");
  expect(refusalOfPin("pin", pinned)).toBe("version 5 is pinned by ada: audit already");
  expect(refusalOfPin("unpin", pinned)).toBeNull();
  expect(refusalOfPin("pin", champion)).toBeNull();
  expect(refusalOfPin("unpin", champion)).toBe("no version is pinned");
});

test("under a pin what passes the gate remains a candidate, and what is worse is rejected all the same", () => {
  const passes = { verdict: "promoted", reason: "quality 0.9 against 0.8" } as const;
  const worse = { verdict: "rejected", reason: "quality 0.5 against 0.8: worse by more than 0.05" } as const;
  expect(underPin(passes, null)).toEqual(passes);
  expect(underPin(passes, PIN)).toEqual({
    verdict: "candidate",
    reason: "quality 0.9 against 0.8; the champion is pinned by ada: audit",
  });
  expect(underPin(worse, PIN)).toEqual(worse);
});

test("the newest versions, the champion and bases of open updates keep their weights at hand", () => {
  const atHand = [1, 2, 3, 4, 5, 6, 7, 8];
  const kept = { newest: 3, lastVersion: 8, champions: new Set([4]), bases: new Set([2]) };
  expect(versionsToArchive(atHand, kept)).toEqual([1, 3, 5]);
  expect(versionsToArchive(atHand, { ...kept, newest: 8 })).toEqual([]);
  expect(versionsToArchive([], kept)).toEqual([]);
});

test("contributions say of each update what its age left of it, its share, and what the rule did with its gateway", () => {
  const update = (updateId: string, gatewayId: string, baseVersion: number, samples: number) => ({
    updateId,
    gatewayId,
    baseVersion,
    samples,
    receivedAtMs: 0,
    delta: new Float32Array(1),
  });
  const updates = [update("u1", "a", 4, 50), update("u2", "b", 1, 30), update("u3", "a", 4, 10)];
  const combined = {
    delta: new Float32Array(1),
    shares: [0.5, 0.25, 0.25],
    gateways: new Map([
      ["a", { agreement: 1, withOthers: null, part: "counted" as const }],
      ["b", { agreement: 1, withOthers: null, part: "clipped" as const }],
    ]),
  };
  const contributions = contributionsOf(updates, combined, (base) => 4 - base);
  expect(contributions).toEqual([
    { updateId: "u1", gatewayId: "a", baseVersion: 4, samples: 50, stalenessWeight: 1, share: 0.5, part: "counted" },
    { updateId: "u2", gatewayId: "b", baseVersion: 1, samples: 30, stalenessWeight: 0.5, share: 0.25, part: "clipped" },
    { updateId: "u3", gatewayId: "a", baseVersion: 4, samples: 10, stalenessWeight: 1, share: 0.25, part: "counted" },
  ]);
  expect(byGateway(contributions)).toEqual([
    { gatewayId: "a", updates: 2, samples: 60, share: 0.75, part: "counted" },
    { gatewayId: "b", updates: 1, samples: 30, share: 0.25, part: "clipped" },
  ]);
});
