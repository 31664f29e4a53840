// An agent at its site's broker: rows in, episodes and its status out, with and without a coordinator, disk or broker.
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { decodeWeights } from "../../proto/weights.ts";
import {
  activated,
  addedTo,
  alerts,
  COHORT,
  openAgent,
  openCoordinator,
  openSite,
  PLAN,
  Pump,
  START_MS,
  statusOf,
  updatesOf,
  WEIGHTS,
} from "../support/agent-at-site.ts";
import { eventually } from "../support/eventually.ts";
import { globalModel } from "../support/scripted-coordinator.ts";
import { temporaryFolder } from "../support/temp.ts";

test("a trained champion takes over from the z-score, names the channel at fault, and clears", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  await site.listen("insa/#");
  await openAgent({ site, coordinator });
  await activated(site, 1);
  const pump = new Pump(site, { everyMs: 10_000 });
  await pump.run(410);
  const deltas = (await updatesOf(coordinator, 8)).map(({ delta }) => decodeWeights(delta, WEIGHTS));
  const weights = addedTo(PLAN.initialWeights, deltas);
  coordinator.send(globalModel(COHORT, PLAN, { version: 2, trained: true, weights }));
  await activated(site, 2);
  await pump.run(10, { fault: 4 });
  const [raised] = await alerts(site, 1);
  expect(raised).toMatchObject({
    type: "flead.anomaly.raised.v1",
    source: "/north/gw-1/pump-1",
    data: { state: "active", severity: "critical", model: { kind: "federated", global_version: 2 } },
  });
  expect(raised?.data.score).toBeGreaterThan(raised?.data.threshold ?? 0);
  expect(raised?.data.contributors[0]).toMatchObject({ channel: "current", unit: "A" });
  await pump.run(200);
  const events = await eventually("the end of the episode", () => {
    const said = site.events("flead/v1/north/gw-1/event/pump-1/").map(({ event }) => event);
    return said.at(-1)?.type === "flead.anomaly.cleared.v1" ? said : undefined;
  });
  expect(new Set(events.map(({ data }) => data.alert_id)).size).toBe(1);
  const times = events.slice(0, -1).map(({ time }) => Date.parse(time));
  for (const [index, time] of times.slice(1).entries())
    expect(time - (times[index] ?? 0)).toBeGreaterThanOrEqual(60_000);
  const state = await eventually("the retained state is cleared", () => {
    const states = site.events("flead/v1/north/gw-1/alert/pump-1/federated");
    return states.at(-1)?.event.data.state === "cleared" ? states : undefined;
  });
  expect(state).toHaveLength(events.length);
  expect(site.events("insa/iiot/ml/anomaly/pump-1")).toHaveLength(events.length);
  const episode = await eventually("the cleared episode is reported", () =>
    coordinator
      .said("report")
      .flatMap(({ episodes }) => episodes)
      .find(({ state }) => state === "cleared"),
  );
  expect(episode).toMatchObject({ alertId: raised?.data.alert_id, deviceId: "pump-1", modelKind: "federated" });
});

test("with no coordinator and no broker at first, a cold start alerts, and the alert waits for the broker", async () => {
  const first = await openSite();
  const agent = await openAgent({ site: first, coordinator: null });
  const pump = new Pump(first);
  await pump.run(50);
  const rows = Array.from({ length: 5 }, () => JSON.stringify(pump.next(8)));
  const { port } = first;
  await first.close();
  for (const row of rows) {
    const payload = new TextEncoder().encode(row);
    agent.receive({
      broker: "b",
      topic: "insa/devices/pump-1/telemetry",
      payload,
      retained: false,
      receivedAtMs: START_MS,
    });
  }
  const second = await openSite(port);
  await second.listen("flead/v1/north/gw-1/#");
  const [raised] = await alerts(second, 1);
  expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { model: { kind: "z_score" }, count: 3 } });
  expect(raised?.data.contributors[0]?.channel).toBe("current");
  expect(JSON.stringify(raised)).not.toContain("label");
});

test("a restart takes up the active episode, the learned state and the outbox", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  coordinator.answerTo = () => null;
  const folder = temporaryFolder("agent-restart");
  const agent = await openAgent({ site, coordinator, folder });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(60);
  const [unanswered] = await updatesOf(coordinator, 1);
  await pump.run(5, { fault: 8 });
  const [raised] = await alerts(site, 1);
  await agent.close();
  await eventually("the agent is offline", () => (statusOf(site) === "offline" ? true : undefined));
  coordinator.answerTo = () => ({ status: UpdateStatus.ACCEPTED });
  coordinator.greeting = [];
  await openAgent({ site, coordinator, folder });
  const again = (await updatesOf(coordinator, 2))[1];
  expect(again?.updateId).toBe(unanswered?.updateId);
  expect(coordinator.hellos.at(-1)?.cohorts).toEqual([
    {
      cohort: COHORT,
      planId: PLAN.planId,
      globalVersion: 1n,
      devices: ["pump-1"],
      candidate: undefined,
      previousVersion: 0n,
    },
  ]);
  await pump.run(120);
  const events = await alerts(site, 2);
  expect(events.at(-1)).toMatchObject({ type: "flead.anomaly.cleared.v1", data: { alert_id: raised?.data.alert_id } });
  // Commissioned and trained already: the next update needs no more than fifty learnable rows.
  const next = (await updatesOf(coordinator, 3))[2];
  expect(next).toMatchObject({ samples: 50n, localSteps: 4n, baseVersion: 1n });
});

test("an alert that could not be kept is raised once it can be, and the agent lives on", async () => {
  const site = await openSite();
  const folder = temporaryFolder("agent-full-disk");
  const lines: string[] = [];
  const agent = await openAgent({ site, coordinator: null, folder, lines });
  const pump = new Pump(site);
  await pump.run(50);
  const other = new Database(join(folder, "agent.sqlite"));
  other.exec("CREATE TRIGGER full BEFORE INSERT ON episodes BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  await pump.run(5, { fault: 8 });
  await eventually("the failure is logged", () => lines.find((line) => line.includes("store_failed")));
  other.exec("DROP TRIGGER full");
  await pump.run(1, { fault: 8 });
  const [raised] = await alerts(site, 1);
  expect(raised).toMatchObject({ type: "flead.anomaly.raised.v1", data: { severity: "critical" } });
  other.exec("ALTER TABLE outbox RENAME TO gone");
  site.drop("flead-north-gw-1");
  await eventually("the will", () => (statusOf(site) === "offline" ? true : undefined));
  await eventually("the agent is back", () => (site.has("flead-north-gw-1") ? true : undefined));
  await agent.close();
  other.close();
});

test("each connection has a last will of its own, which says when the connection began", async () => {
  const site = await openSite();
  await openAgent({ site, coordinator: null });
  const wills = () => site.events("flead/v1/north/gw-1/status").filter(({ event }) => event.data.state === "offline");
  for (const losses of [1, 2]) {
    await eventually("the agent is online", () => (statusOf(site) === "online" ? true : undefined));
    site.drop("flead-north-gw-1");
    await eventually(`will ${losses}`, () => (wills().length === losses ? true : undefined));
  }
  const [first, second] = wills().map(({ event }) => event);
  expect(second?.id).not.toBe(first?.id);
  expect(Date.parse(second?.time ?? "")).toBeGreaterThan(Date.parse(first?.time ?? ""));
  for (const will of [first, second]) expect(will?.data.connected_at).toBe(will?.time);
});

test("bad input is counted by kind, logged once, and changes nothing", async () => {
  const [site, coordinator] = [await openSite(), await openCoordinator()];
  const lines: string[] = [];
  const stale = new Pump(site);
  await stale.say(stale.next(), true);
  await openAgent({ site, coordinator, lines });
  await activated(site, 1);
  const pump = new Pump(site);
  await pump.run(59);
  const bad: unknown[] = [
    "{",
    '{"flow": NaN, "current": 1}',
    { flow: 1 },
    { flow: 1, current: "1" },
    '{"flow": 1e999, "current": 1}',
    { timestamp: new Date(START_MS).toISOString(), flow: 1, current: 1 },
    { timestamp: new Date(START_MS + 58_000).toISOString(), flow: 1, current: 1 },
    [],
    `{"flow": "${"x".repeat(70_000)}"}`,
  ];
  for (const body of bad) await pump.say(body);
  await new Pump(site, { id: "pump 1" }).run(1);
  await new Pump(site, { id: "valve-1" }).run(1);
  await pump.run(1);
  const [update] = await updatesOf(coordinator, 1);
  expect(update?.samples).toBe(50n);
  coordinator.send({ $case: "command", value: { commandId: "c", action: { $case: "sendReport", value: {} } } });
  const refused = BigInt(bad.length + 3);
  const { health } = await eventually("a report", () =>
    coordinator.said("report").find((report) => report.health?.rowsRefused === refused),
  );
  expect(health?.rows).toBe(60n);
  const kinds = lines
    .map((line) => JSON.parse(line).kind)
    .filter((kind) => kind !== undefined && kind !== "extra_channel");
  expect(kinds.sort()).toEqual([
    "bad_value",
    "duplicate_timestamp",
    "invalid_device_id",
    "malformed_json",
    "missing_channel",
    "no_cohort",
    "out_of_order",
    "retained",
    "too_large",
    "wrong_shape",
  ]);
});

test("closing says offline and takes less than five seconds, also when nobody is there", async () => {
  const site = await openSite();
  const agent = await openAgent({ site, coordinator: null });
  const before = performance.now();
  await agent.close();
  expect(performance.now() - before).toBeLessThan(5000);
  await eventually("the agent is offline", () => (statusOf(site) === "offline" ? true : undefined));
});
