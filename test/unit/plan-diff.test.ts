import { expect, test } from "vitest";
import { diffPlans } from "../../cli/plan-diff.ts";
import { parseCohortFile } from "../../coordinator/adapters/cohort-file.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { encodeBundle } from "../../proto/plan-bundle.ts";
import { smallSettings } from "../support/small-plan.ts";

const file = ({ cohort = "pumps", plan = {}, federation = {} } = {}) => {
  const settings = parseCohortFile(JSON.stringify({ cohort, plan: { ...smallSettings(), ...plan }, federation }));
  return { planId: encodeBundle(compilePlan(settings.plan)).planId, settings };
};

test("another plan is told key by key, and that the cohort begins anew", () => {
  expect(diffPlans(file(), file({ plan: { commissioningRows: 20 } }))).toEqual({
    changes: [{ key: "plan.commissioningRows", from: "10", to: "20" }],
    meaning:
      "another plan, which its gateways fetch: the cohort begins from its initial weights, unless it had that plan before",
  });
});

test("a channel that is new, another unit and another order are told one by one", () => {
  const channels = (...given: { name: string; unit: string }[]) => file({ plan: { channels: given } });
  const [flow, current] = [
    { name: "flow", unit: "m³/h" },
    { name: "current", unit: "A" },
  ];
  expect(diffPlans(channels(flow, current), channels(flow, { ...current, unit: "mA" })).changes).toEqual([
    { key: "plan.channels.current.unit", from: '"A"', to: '"mA"' },
  ]);
  expect(diffPlans(channels(flow), channels(current, flow)).changes).toEqual([
    { key: "plan.channels", from: '["flow"]', to: '["current","flow"]' },
    { key: "plan.channels.current.unit", from: "(absent)", to: '"A"' },
  ]);
});

test("federation settings alone are no other plan", () => {
  const { changes, meaning } = diffPlans(file(), file({ federation: { gate: { margin: 0.1 } } }));
  expect(changes).toEqual([{ key: "federation.gate.margin", from: "0.05", to: "0.1" }]);
  expect(meaning).toBe("federation only, the same plan: agents keep their weights and notice nothing");
});

test("the same file differs in nothing; another cohort's is the same plan", () => {
  expect(diffPlans(file(), file()).changes).toEqual([]);
  expect(diffPlans(file(), file({ cohort: "fans" })).meaning).toContain("the same plan for another cohort");
});
