// What an agent sends a coordinator of what it learned: once, again where it was not answered, and from which base.
import { expect, test } from "vitest";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { decodeWeights } from "../../proto/weights.ts";
import {
  activated,
  addedTo,
  COHORT,
  openAgent,
  openCoordinator,
  openSite,
  PLAN,
  Pump,
  sessions,
  updatesOf,
  WEIGHTS,
} from "../support/agent-at-site.ts";
import { eventually } from "../support/eventually.ts";
import { globalModel } from "../support/scripted-coordinator.ts";

test("fifty rows after commissioning make one update of fifty samples against the champion", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  await new Pump(site).run(60);
  const [update] = await updatesOf(coordinator, 1);
  expect(coordinator.hellos[0]).toMatchObject({
    gatewayId: "gw-1",
    site: "north",
    cohorts: [{ cohort: COHORT, planId: "" }],
  });
  expect(update).toMatchObject({ cohort: COHORT, planId: PLAN.planId, baseVersion: 1n, samples: 50n, localSteps: 2n });
  expect(update?.loss).toBeGreaterThan(0);
  expect(decodeWeights(update?.delta ?? Buffer.of(), WEIGHTS).some((value) => value !== 0)).toBe(true);
  const [{ event } = { event: null }] = await eventually("trained event", () => {
    const events = site.events("flead/v1/north/gw-1/model/trained");
    return events.length > 0 ? events : undefined;
  });
  expect(event?.data.samples).toBe(50);
});

test("updates go on from the same base until a newer champion comes", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(110);
  const deltas = (await updatesOf(coordinator, 2)).map(({ delta }) => decodeWeights(delta, WEIGHTS));
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, weights: addedTo(PLAN.initialWeights, deltas) }));
  await activated(site, 2);
  await pump.run(50);
  const third = (await updatesOf(coordinator, 3))[2];
  expect(coordinator.updates.slice(0, 2)).toMatchObject([{ baseVersion: 1n }, { baseVersion: 1n }]);
  expect(third).toMatchObject({ baseVersion: 2n, samples: 50n, localSteps: 6n });
});

test("what was not answered is sent again with the same id, in order, and not after its answer", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.answerTo = () => null;
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(110);
  const first = (await updatesOf(coordinator, 2)).map(({ updateId }) => updateId);
  coordinator.answerTo = ({ updateId }) => ({
    status: updateId === first[0] ? UpdateStatus.KNOWN : UpdateStatus.ACCEPTED,
  });
  coordinator.breakSessions();
  await sessions(coordinator, 2);
  expect((await updatesOf(coordinator, 4)).slice(2).map(({ updateId }) => updateId)).toEqual(first);
  coordinator.breakSessions();
  await sessions(coordinator, 3);
  await pump.run(50);
  const third = (await updatesOf(coordinator, 5))[4];
  expect(first).not.toContain(third?.updateId);
});

test("a coordinator that dies and comes back gets what it had not answered, and only that", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const [answered] = await updatesOf(coordinator, 1);
  coordinator.close();
  await eventually("the session is lost", () => lines.find((line) => line.includes('"connected":false')));
  await pump.run(100);
  const back = await openCoordinator(coordinator.port);
  const updates = await updatesOf(back, 2);
  expect(updates.map(({ samples, localSteps }) => [samples, localSteps])).toEqual([
    [50n, 4n],
    [50n, 6n],
  ]);
  expect(updates.map(({ updateId }) => updateId)).not.toContain(answered?.updateId);
});

test("a refused update leaves the outbox, one to be retried comes again after the given time", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  let answers = 0;
  coordinator.answerTo = () =>
    answers++ === 0 ? { status: UpdateStatus.RETRY, retryAfterMs: 300 } : { status: UpdateStatus.REFUSED };
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  await new Pump(site).run(60);
  const [sent, again] = await updatesOf(coordinator, 2);
  expect(again?.updateId).toBe(sent?.updateId);
  await eventually("the refusal is logged", () => lines.find((line) => line.includes("update_refused")));
  coordinator.breakSessions();
  await sessions(coordinator, 2);
  const before = coordinator.said("report").length;
  coordinator.send({ $case: "command", value: { commandId: "c", action: { $case: "sendReport", value: {} } } });
  const report = await eventually("a report that was asked for", () => coordinator.said("report").at(before));
  expect(report.health).toMatchObject({ outboxBytes: 0n, updatesTrained: 1n, samplesTrained: 50n });
  expect(coordinator.updates).toHaveLength(2);
});

test("asked to drain, the agent goes and comes back after the given time", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const before = performance.now();
  const drain = { $case: "drain", value: { reconnectAfterMs: 400 } } as const;
  coordinator.send({ $case: "command", value: { commandId: "c", action: drain } });
  await sessions(coordinator, 2);
  expect(performance.now() - before).toBeGreaterThan(400);
});
