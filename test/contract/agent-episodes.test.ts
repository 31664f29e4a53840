import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Cohort } from "../../agent/cohort.ts";
import { Device } from "../../agent/core/device.ts";
import type { ModelKind } from "../../agent/core/episode.ts";
import type { AlertWord } from "../../agent/core/labels.ts";
import { Episodes } from "../../agent/episodes.ts";
import { Labels } from "../../agent/labels.ts";
import { cohortId, type DeviceId, deviceId, gatewayId } from "../../learning/ids.ts";
import type { CloudEvent } from "../support/mqtt-site.ts";
import { StillClock } from "../support/still-clock.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-episodes");
const PUMPS = cohortId("pumps");
const START_MS = Date.parse("2026-11-21T08:00:00Z");
const DAY_MS = 86_400_000;
let files = 0;

const recordOf = (device: DeviceId) => new Device(device, [{ name: "flow", unit: "" }]).record();

/** A gateway's episodes over a real file; `restart` ends the process without a good-bye. */
function open({ devices = 1 } = {}) {
  const path = join(folder, `${++files}.sqlite`);
  const time = new StillClock(START_MS);
  const cohort = new Cohort(PUMPS, START_MS, () => false);
  const names = Array.from({ length: devices }, (_, index) => deviceId(`pump-${index + 1}`));
  for (const name of names) cohort.keep(new Device(name, [{ name: "flow", unit: "" }]));
  const refused: string[] = [];
  let ids = 0;
  const start = () => {
    const store = new SqliteStore(path, { nowMs: 0 });
    const episodes = new Episodes({
      store,
      origin: { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: null },
      devices: () => devices,
      newId: () => `id-${++ids}`,
      clock: time,
      onTransition: () => undefined,
    });
    const refuse = (_: string, { detail }: { readonly detail: string }) => refused.push(detail);
    return { store, episodes, labels: new Labels({ cohorts: [cohort], episodes, devices: store.learning, refuse }) };
  };
  let current = start();
  onTestFinished(() => current.store.close());
  const restart = () => {
    current.store.close();
    current = start();
  };
  /** One row of a device, so many seconds after the start. */
  const row = (device: number, second: number, active: boolean, kind: ModelKind = "z_score") => {
    const name = names[device - 1] ?? deviceId("none");
    const atMs = START_MS + 1000 * second;
    const scored = {
      score: active ? 9 : 1,
      threshold: 5,
      ruleThreshold: null,
      confidence: 0.8,
      contributors: [],
      missing: [],
    };
    current.episodes.observe(
      { deviceId: name, cohort: PUMPS, kind, globalVersion: 0, localSteps: 0 },
      { atMs, active, over: active, ...scored },
      { atMs, receivedAtMs: atMs, record: () => recordOf(name) },
    );
  };
  const say = (action: AlertWord["action"], change: Partial<AlertWord> = {}) =>
    current.labels.acknowledge({
      deviceId: deviceId("pump-1"),
      kind: "z_score",
      action,
      alertId: null,
      untilMs: null,
      receivedAtMs: time.nowMs,
      ...change,
    });
  /** What was said since it was asked last, `topic: what`. */
  const said = () => {
    const queued = current.store.alerts.queuedMessages(99_999);
    for (const { sequence } of queued) current.store.alerts.removeMessage(sequence);
    return queued.map(({ message: { topic, payload } }) => {
      const event = payload === "" ? null : (JSON.parse(payload) as CloudEvent);
      return { topic: topic.replace("flead/v1/north/gw-1/", ""), event, what: event?.type.split(".")[2] ?? "emptied" };
    });
  };
  const told = () => said().flatMap(({ topic, what }) => (topic.startsWith("event/") ? [`${topic} ${what}`] : []));
  return { time, refused, restart, row, say, said, told, current: () => current };
}

test("a snoozed device is not raised until then, also after a restart; what lasts is raised after it", () => {
  const { time, restart, row, say, told, current } = open();
  const untilMs = START_MS + 3_600_000;
  say("snooze", { untilMs });
  row(1, 10, true);
  time.nowMs += 1_800_000;
  restart();
  expect(current().episodes.snoozed()).toEqual([{ deviceId: "pump-1", kind: "z_score", untilMs }]);
  row(1, 1810, true);
  expect(told()).toEqual([]);
  row(1, 1811, true, "isolation_forest");
  expect(told()).toEqual(["event/pump-1/isolation_forest raised"]);
  row(1, 1812, false, "isolation_forest");
  time.nowMs = untilMs;
  row(1, 3600, true);
  expect(told()).toEqual(["event/pump-1/isolation_forest cleared", "event/pump-1/z_score raised"]);
  current().episodes.keepHouse();
  restart();
  expect(current().store.alerts.snoozes()).toEqual([]);
});

test("an active alert is said with its snooze, is not updated during it, and is cleared all the same", () => {
  const { row, say, said, told } = open();
  row(1, 0, true);
  expect(told()).toEqual(["event/pump-1/z_score raised"]);
  say("snooze", { untilMs: START_MS + DAY_MS });
  const [state, event] = said();
  expect(state).toMatchObject({ topic: "alert/pump-1/z_score", what: "acked" });
  expect(event?.event?.data).toMatchObject({
    state: "active",
    ack: { action: "snooze", at: "2026-11-21T08:00:00.000Z", until: "2026-11-22T08:00:00.000Z" },
  });
  row(1, 120, true);
  expect(told()).toEqual([]);
  row(1, 180, false);
  expect(told()).toEqual(["event/pump-1/z_score cleared"]);
});

test("a snooze can be ended, needs no alert but a known device, and the word is noted on the last alert", () => {
  const { row, say, said, told, refused } = open();
  say("snooze", { untilMs: START_MS + DAY_MS });
  expect(told()).toEqual([]);
  say("unsnooze");
  row(1, 10, true);
  expect(told()).toEqual(["event/pump-1/z_score raised"]);
  say("unsnooze");
  expect(said()[1]?.event?.data.ack).toEqual({ action: "unsnooze", at: "2026-11-21T08:00:00.000Z" });
  say("snooze", { untilMs: START_MS + DAY_MS, deviceId: deviceId("pump-9") });
  say("snooze", { untilMs: START_MS + DAY_MS, alertId: "never heard of" });
  expect(refused).toEqual([
    "no row of the device was used yet",
    "no such alert of z_score is kept; alert_id is its data.alert_id",
  ]);
});

test("an acknowledgement is noted once and changes nothing else", () => {
  const { row, say, said, told } = open();
  row(1, 0, true);
  told();
  for (let time = 0; time < 2; time++) say("acknowledge");
  const acked = said();
  expect(acked.map(({ topic, what }) => `${topic} ${what}`)).toEqual([
    "alert/pump-1/z_score acked",
    "event/pump-1/z_score acked",
  ]);
  expect(acked[1]?.event?.data).toMatchObject({ state: "active", threshold: 5, ack: { action: "acknowledge" } });
  row(1, 60, true);
  expect(said()[0]?.event?.data).toMatchObject({ state: "active", count: 2, ack: { action: "acknowledge" } });
});

test("a clock that was set back years holds no snooze for longer than a week", () => {
  const { time, restart, row, say, told } = open();
  say("snooze", { untilMs: START_MS + DAY_MS });
  time.nowMs -= 365 * DAY_MS;
  restart();
  time.nowMs += 7 * DAY_MS;
  row(1, 10, true);
  expect(told()).toEqual(["event/pump-1/z_score raised"]);
});

test("of a storm's episodes those are told that came before it, and cleared; the others are in the storm alone", () => {
  const { row, said, told, current } = open({ devices: 10 });
  for (let device = 1; device <= 5; device++) row(device, device, true);
  const raised = said();
  expect(raised.flatMap(({ topic, what }) => (topic.startsWith("event/") ? [`${topic} ${what}`] : []))).toEqual([
    "event/pump-1/z_score raised",
    "event/pump-2/z_score raised",
    "event/gw-1/storm raised",
  ]);
  expect(raised.at(-2)).toMatchObject({ topic: "alert/gw-1/storm", what: "raised" });
  expect(raised.at(-2)?.event?.data).toMatchObject({ count: 3, devices: ["pump-1", "pump-2", "pump-3"] });
  for (let device = 1; device <= 5; device++) row(device, 100, true); // due for an update, were they told by themselves
  expect(told()).toEqual([]);
  for (let device = 1; device <= 4; device++) row(device, 170, false);
  expect(told()).toEqual(["event/pump-1/z_score cleared", "event/pump-2/z_score cleared"]);
  row(5, 171, false);
  expect(told()).toEqual(["event/gw-1/storm cleared"]);
  const reported = current().store.alerts.unreported(99);
  expect(reported.map(({ episode: { deviceId: id, state } }) => `${id} ${state}`)).toEqual(
    [1, 2, 3, 4, 5].map((device) => `pump-${device} cleared`),
  );
});

test("a storm goes on after a restart and is over with its last episode; its topic is emptied an hour later", () => {
  const { time, restart, row, said, told, current } = open({ devices: 10 });
  for (let device = 1; device <= 4; device++) row(device, device, true);
  told();
  restart();
  row(5, 6, true);
  expect(told()).toEqual([]);
  restart();
  for (let device = 1; device <= 4; device++) row(device, 70, false);
  told();
  restart();
  row(5, 71, false);
  expect(told()).toEqual(["event/gw-1/storm cleared"]);
  expect(current().store.alerts.storm()).toBeNull();
  time.nowMs += 3_600_000;
  current().episodes.keepHouse();
  expect(said().map(({ topic, what }) => `${topic} ${what}`)).toEqual([
    "alert/pump-1/z_score emptied",
    "alert/pump-2/z_score emptied",
    "alert/gw-1/storm emptied",
  ]);
});

test("a word on an episode that only the storm told of is said, and so is its end", () => {
  const { row, say, told } = open({ devices: 10 });
  for (let device = 1; device <= 4; device++) row(device, device, true);
  told();
  say("acknowledge", { deviceId: deviceId("pump-4") });
  row(4, 70, false);
  expect(told()).toEqual(["event/pump-4/z_score acked", "event/pump-4/z_score cleared"]);
});

test("2,000 devices that raise at once are one storm, of which 100 are named", () => {
  const { row, said, current } = open({ devices: 2000 });
  for (let device = 1; device <= 2000; device++) row(device, device / 1000, true);
  const events = said().filter(({ topic }) => topic.startsWith("event/"));
  expect(events).toHaveLength(401);
  expect(events.at(-1)?.event?.data).toMatchObject({ count: 401, active: 401 });
  for (let device = 1; device <= 2000; device++) row(device, 80, false);
  const ends = said().filter(({ topic }) => topic.startsWith("event/"));
  expect(ends).toHaveLength(401);
  expect(ends.at(-1)).toMatchObject({ topic: "event/gw-1/storm", what: "cleared" });
  expect(ends.at(-1)?.event?.data).toMatchObject({ count: 2000, active: 0 });
  expect(ends.at(-1)?.event?.data.devices).toHaveLength(100);
  expect(current().store.alerts.storm()).toBeNull();
});
