// What a coordinator sends an agent: plans, champions and feedback, in whatever order and state they come.
import { expect, test } from "vitest";
import { decodeWeights } from "../../proto/weights.ts";
import {
  activated,
  COHORT,
  openAgent,
  openCoordinator,
  openSite,
  PLAN,
  Pump,
  updatesOf,
  WEIGHTS,
} from "../support/agent-at-site.ts";
import { eventually } from "../support/eventually.ts";
import { feedback, globalModel, planChanged, testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";

test("a plan that does not arrive whole is refused and fetched again; its model waits for it", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.truncate(PLAN.planId, true);
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  const line = await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  expect(line).toMatch(/\d+ of \d+ bytes came/);
  expect(site.events("flead/v1/north/gw-1/model/activated")).toEqual([]);
  coordinator.truncate(PLAN.planId, false);
  await activated(site, 1);
  await new Pump(site).run(60);
  expect(await updatesOf(coordinator, 1)).toHaveLength(1);
});

test("a model of the wrong length or with a non-finite weight changes nothing", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, weights: new Float32Array(WEIGHTS + 1) }));
  await eventually("the wrong length", () => lines.find((text) => text.includes("bad_model")));
  coordinator.send(globalModel(COHORT, PLAN, { version: 3, weights: new Float32Array(WEIGHTS).fill(Number.NaN) }));
  await eventually("the weight that is no number", () => lines.find((text) => text.includes("bad_message")));
  await new Pump(site).run(60);
  expect((await updatesOf(coordinator, 1))[0]?.baseVersion).toBe(1n);
});

test("another plan begins anew with its own model", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  await updatesOf(coordinator, 1);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(globalModel(COHORT, other, { version: 5 }));
  await activated(site, 5);
  await pump.run(70);
  const second = (await updatesOf(coordinator, 2))[1];
  expect(second).toMatchObject({ planId: other.planId, baseVersion: 5n, samples: 50n });
});

test("while a plan can't be fetched the one in force gets its champions and feedback, and the new one's wait", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.truncate(other.planId, true);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(globalModel(COHORT, other, { version: 2 }));
  await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  coordinator.send(globalModel(COHORT, PLAN, { version: 3 }));
  coordinator.send(feedback(COHORT, 3, 2, { planId: PLAN.planId }));
  await activated(site, 3);
  const acknowledged = await eventually("the acknowledgement", () => coordinator.said("feedbackAcknowledgement")[0]);
  expect(acknowledged).toEqual({ cohort: COHORT, globalVersion: 3n, learningRateFactor: 2 });
  coordinator.truncate(other.planId, false);
  await activated(site, 2);
  coordinator.send(globalModel(COHORT, PLAN, { version: 4 })); // said before it was heard that the gateway moved
  coordinator.send(globalModel(COHORT, other, { version: 5 }));
  await activated(site, 5);
  await new Pump(site).run(70);
  expect((await updatesOf(coordinator, 1))[0]).toMatchObject({ planId: other.planId, baseVersion: 5n });
});

test("feedback is in force once a version and always acknowledged", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const first = (await updatesOf(coordinator, 1))[0];
  for (const [version, factor] of [
    [2, 2],
    [2, 3],
    [3, 0.01],
  ] as const) {
    coordinator.send(feedback(COHORT, version, factor, { promoted: version === 2 }));
  }
  const acknowledged = await eventually("three acknowledgements", () => {
    const said = coordinator.said("feedbackAcknowledgement");
    return said.length >= 3 ? said : undefined;
  });
  expect(acknowledged.map(({ globalVersion, learningRateFactor }) => [globalVersion, learningRateFactor])).toEqual([
    [2n, 2],
    [2n, 2],
    [3n, 0.1],
  ]);
  await pump.run(50);
  const second = (await updatesOf(coordinator, 2))[1];
  const [before, after] = [first, second].map((update) => decodeWeights(update?.delta ?? Buffer.of(), WEIGHTS));
  expect(second).toMatchObject({ baseVersion: 1n, localSteps: 4n });
  expect(Math.hypot(...(after ?? []))).toBeLessThan(0.5 * Math.hypot(...(before ?? [])));
});

test("feedback that comes before its plan is in force and acknowledged once the plan is there", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const acknowledged = (count: number) =>
    eventually(`acknowledgement ${count}`, () => {
      const said = coordinator.said("feedbackAcknowledgement");
      return said.length >= count
        ? said.map(({ globalVersion, learningRateFactor }) => [globalVersion, learningRateFactor])
        : undefined;
    });
  coordinator.truncate(PLAN.planId, true);
  coordinator.greeting = [...coordinator.greeting, feedback(COHORT, 2, 3), feedback(COHORT, 3, 2)];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await eventually("the refusal", () => lines.find((text) => text.includes("plan_fetch")));
  expect(coordinator.said("feedbackAcknowledgement")).toEqual([]);
  coordinator.truncate(PLAN.planId, false);
  await activated(site, 1);
  coordinator.send(feedback(COHORT, 3, 3));
  expect(await acknowledged(2)).toEqual([
    [3n, 2],
    [3n, 2],
  ]);
  const other = testPlan({ ...smallSettings(), commissioningRows: 20 });
  coordinator.hold(other);
  coordinator.send(planChanged(COHORT, other));
  coordinator.send(feedback(COHORT, 4, 0.5));
  coordinator.send(globalModel(COHORT, other, { version: 4, factor: 1.5 }));
  await activated(site, 4);
  coordinator.send(feedback(COHORT, 5, Number.NaN));
  expect((await acknowledged(4)).slice(2)).toEqual([
    [4n, 0.5],
    [5n, 0.5],
  ]);
});
