import { expect, test } from "vitest";
import { cohortSchema } from "../../coordinator/adapters/cohort-file.ts";
import { SampleBudgets } from "../../coordinator/adapters/session/sample-budgets.ts";
import { chooseInvited, type ReadyGateway } from "../../coordinator/core/invitation.ts";
import { cohortId, type GatewayId, gatewayId } from "../../learning/ids.ts";

const names = (count: number) => Array.from({ length: count }, (_, n) => gatewayId(`gw-${n}`));
const fresh = (gateways: readonly GatewayId[]): ReadyGateway[] =>
  gateways.map((id) => ({ gatewayId: id, lastInvitedRound: null }));

test("the same seed chooses the same gateways in whatever order they are given, another seed others", () => {
  const ready = fresh(names(100));
  const chosen = chooseInvited(ready, 10, 7);
  expect(chooseInvited(ready.toReversed(), 10, 7)).toEqual(chosen);
  expect(new Set(chosen).size).toBe(10);
  expect(chooseInvited(ready, 10, 8)).not.toEqual(chosen);
  expect(chooseInvited(ready.slice(0, 3), 10, 7)).toHaveLength(3);
});

test("a gateway that stays ready is invited again after as many rounds as it takes to ask all, give or take one", () => {
  const gateways = names(17);
  const last = new Map<GatewayId, number>();
  for (let round = 1; round <= 100; round++) {
    const ready = gateways.map((id) => ({ gatewayId: id, lastInvitedRound: last.get(id) ?? null }));
    for (const id of chooseInvited(ready, 5, round)) {
      const passed = round - (last.get(id) ?? 0);
      expect(passed).toBeLessThanOrEqual(4);
      if (last.has(id)) expect(passed).toBeGreaterThanOrEqual(3);
      last.set(id, round);
    }
  }
});

const PLAN = { preset: "machines", channels: [{ name: "flow" }] };
const read = (federation: object) => cohortSchema.safeParse({ cohort: "pumps", plan: PLAN, federation });
const roundOf = (round: object) => read({ round }).data?.federation.round;

test("a round is buffered unless the file says otherwise, and each mode has its own settings", () => {
  const anyMode = { deadlineMs: 60_000, minGateways: 2, maxStaleness: 10 };
  expect(roundOf({})).toEqual({ mode: "buffered", updates: 20, intervalMs: 10_000, ...anyMode });
  expect(roundOf({ updates: 5 })).toEqual({ mode: "buffered", updates: 5, intervalMs: 10_000, ...anyMode });
  const synchronous = { mode: "synchronous", gateways: 10, overSelection: 0.3, ...anyMode };
  expect(roundOf({ mode: "synchronous", gateways: 10 })).toEqual(synchronous);
  expect(read({}).data?.federation.samples).toEqual({ rowsPerSecond: 2_000, burstMs: 86_400_000 });
});

test.each([
  [{ mode: "synchronous" }, /round.gateways/],
  [{ mode: "synchronous", gateways: 10, updates: 20 }, /updates/],
  [{ mode: "buffered", gateways: 10 }, /gateways/],
  [{ mode: "synchronous", gateways: 3, minGateways: 4 }, /round.minGateways.*at most the gateways wanted/],
  [{ mode: "synchronous", gateways: 3, overSelection: -0.1 }, /round.overSelection/],
  [{ mode: "sometimes" }, /round.mode.*buffered.*synchronous/],
])("%j is refused with its key", (round, message) => {
  const { error } = read({ round });
  const told = error?.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ");
  expect(told).toMatch(message);
});

const BOUND = { rowsPerSecond: 10, burstMs: 60_000 };
const claim = (gateway: string, samples: number) => ({
  cohort: cohortId("pumps"),
  gatewayId: gatewayId(gateway),
  samples,
});

test("a budget fills with time up to its burst, and no further", () => {
  const clock = { nowMs: 0 };
  const budgets = new SampleBudgets(() => clock.nowMs);
  expect(budgets.claim(claim("gw-1", 601), BOUND)).toMatchObject({ reason: "too_many_samples" });
  expect(budgets.claim(claim("gw-1", 600), BOUND)).toBeNull();
  clock.nowMs = 1_000;
  expect(budgets.claim(claim("gw-1", 11), BOUND)?.message).toBe(
    "11 samples, 0.1 s before time allows them; allowed are 10 a second and 600 at once",
  );
  expect(budgets.claim(claim("gw-1", 10), BOUND)).toBeNull();
  clock.nowMs = 1e9;
  expect(budgets.claim(claim("gw-1", 601), BOUND)).not.toBeNull();
  // A clock that was set back gives nothing, and takes nothing.
  expect(budgets.claim(claim("gw-1", 600), BOUND)).toBeNull();
  clock.nowMs = 0;
  expect(budgets.claim(claim("gw-1", 1), BOUND)).not.toBeNull();
});

test("what did not count is given back, once", () => {
  const budgets = new SampleBudgets(() => 0);
  expect(budgets.claim(claim("gw-1", 500), BOUND)).toBeNull();
  budgets.giveBack(claim("gw-1", 500));
  expect(budgets.claim(claim("gw-1", 600), BOUND)).toBeNull();
  expect(budgets.claim(claim("gw-1", 1), BOUND)).not.toBeNull();
});

test("budgets are bounded in number: those claimed from longest ago are forgotten", () => {
  const budgets = new SampleBudgets(() => 0, 2);
  for (const gateway of ["gw-1", "gw-2", "gw-1", "gw-3"]) expect(budgets.claim(claim(gateway, 300), BOUND)).toBeNull();
  expect(budgets.claim(claim("gw-1", 1), BOUND)).not.toBeNull();
  expect(budgets.claim(claim("gw-2", 600), BOUND)).toBeNull();
});
