import { join } from "node:path";
import { expect, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import type { OutgoingMessage } from "../../agent/core/alert.ts";
import { noBytes } from "../../agent/core/day-bytes.ts";
import { Device } from "../../agent/core/device.ts";
import type { Episode } from "../../agent/core/episode.ts";
import type { Storm } from "../../agent/core/storm.ts";
import { DeviceWindows } from "../../agent/core/windows.ts";
import type { AgentStore, Spares } from "../../agent/ports/agent-store.ts";
import type { WindowSummaries } from "../../agent/ports/coordinator-link.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import { PLAN, PUMPS, planOf, slot, updateOf } from "../support/kept-things.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const folder = temporaryFolder("agent-store");

const episodeOf = (alertId: string, state: Episode["state"] = "active"): Episode => ({
  alertId,
  deviceId: deviceId("pump-1"),
  cohort: PUMPS,
  kind: "z_score",
  globalVersion: 0,
  localSteps: 0,
  state,
  severity: "minor",
  score: 6,
  threshold: 5,
  ruleThreshold: null,
  confidence: 0.5,
  contributors: [{ channel: "flow", share: 1, value: 3, expected: [1, 2], unit: "" }],
  startedAtMs: 1000,
  updatedAtMs: 2000,
  lastOverAtMs: 1900,
  count: 3,
  ack: null,
  missing: [],
  storm: null,
  announced: true,
});

const spares: Spares = {
  candidate: {
    globalVersion: 4,
    trained: true,
    fleet: noFleet,
    weights: Float32Array.of(9, -9),
    trial: { measure: "ratio", rows: 200, change: 7.5, labelledRows: 0, labelledChange: null, worse: true },
  },
  previous: { globalVersion: 2, trained: true, fleet: slot.fleet, weights: Float32Array.of(0, 1) },
};

const message = (topic: string): OutgoingMessage => ({ topic, payload: "{}", retain: false });

const summariesOf = (startMs: number, devices = 1): WindowSummaries => ({
  cohort: PUMPS,
  windowMs: 30_000,
  channels: ["flow"],
  windows: Array.from({ length: devices }, (_, device) => ({
    deviceId: deviceId(`pump-${device}`),
    startMs,
    anomaly: device === 0 ? 0.9 : null,
    lateRows: 0,
    counts: Uint32Array.of(30),
    means: Float64Array.of(0.1),
    deviations: Float32Array.of(0.25),
    minima: Float64Array.of(0),
    maxima: Float64Array.of(1),
    last: Float64Array.of(0.5),
    z: Float32Array.of(Number.NaN),
  })),
});

interface Opened {
  readonly store: AgentStore;
  readonly reopen: () => AgentStore;
}

/** What every adapter of the port must do; `open` begins with nothing and `reopen` closes and comes back. */
function agentStoreContract(open: (limits?: { maxOutboxBytes?: number }) => Opened): void {
  test("a cohort comes back with its plan, slot and factor", () => {
    const { store, reopen } = open();
    expect(store.learning.cohort(PUMPS)).toBeNull();
    store.learning.startPlan(PUMPS, PLAN);
    expect(store.learning.cohort(PUMPS)).toMatchObject({ learningRateFactor: 1, slot: null });
    store.learning.saveSlot(PUMPS, slot);
    store.learning.recordFeedback(PUMPS, 4, 1.05);
    const back = reopen().learning.cohort(PUMPS);
    expect(back).toMatchObject({ learningRateFactor: 1.05, slot });
    store.learning.saveFactor(PUMPS, 1.2);
    expect(reopen().learning.cohort(PUMPS)?.learningRateFactor).toBe(1.2);
    store.learning.saveSlot(PUMPS, { ...slot, fleet: noFleet });
    expect(reopen().learning.cohort(PUMPS)?.slot?.fleet).toEqual(noFleet);
    expect(back?.plan.planId).toBe(PLAN.planId);
    expect(back?.plan.manifest).toEqual(PLAN.manifest);
  });

  test("the models beside the active one come back as they were saved last", () => {
    const { store, reopen } = open();
    store.learning.startPlan(PUMPS, PLAN);
    expect(store.learning.cohort(PUMPS)).toMatchObject({ candidate: null, previous: null });
    store.learning.saveSpares(PUMPS, spares);
    const back = reopen();
    expect(back.learning.cohort(PUMPS)).toMatchObject({ slot: null, ...spares });
    back.learning.saveSpares(PUMPS, { candidate: null, previous: spares.previous });
    expect(reopen().learning.cohort(PUMPS)).toMatchObject({ candidate: null, previous: spares.previous });
  });

  test("another plan begins anew", () => {
    const { store } = open();
    store.learning.startPlan(PUMPS, PLAN);
    store.learning.saveSlot(PUMPS, slot);
    store.learning.saveSpares(PUMPS, spares);
    store.learning.recordFeedback(PUMPS, 4, 2);
    store.learning.saveDevices(PUMPS, [new Device(deviceId("pump-1"), [{ name: "flow", unit: "" }]).record()]);
    store.learning.startPlan(PUMPS, planOf({ ...smallSettings(), commissioningRows: 11 }));
    expect(store.learning.cohort(PUMPS)).toMatchObject({
      learningRateFactor: 1,
      slot: null,
      candidate: null,
      previous: null,
    });
    expect(store.learning.devices(PUMPS)).toEqual([]);
    expect(store.learning.recordFeedback(PUMPS, 4, 1.5)).toBe(true);
  });

  test("feedback counts once a version, in the order of versions", () => {
    const { store, reopen } = open();
    store.learning.startPlan(PUMPS, PLAN);
    expect(store.learning.recordFeedback(PUMPS, 4, 2)).toBe(true);
    const again = reopen();
    expect(again.learning.recordFeedback(PUMPS, 4, 3)).toBe(false);
    expect(again.learning.recordFeedback(PUMPS, 3, 3)).toBe(false);
    expect(again.learning.cohort(PUMPS)?.learningRateFactor).toBe(2);
    again.learning.forgetFeedback(PUMPS);
    expect(again.learning.recordFeedback(PUMPS, 4, 3)).toBe(true);
  });

  test("updates leave in order and only when they are removed", () => {
    const { store, reopen } = open();
    for (const number of [1, 2, 3]) store.learning.addUpdate(updateOf(number), false);
    const again = reopen();
    expect(again.learning.queuedUpdates(2)).toEqual([updateOf(1).updateId, updateOf(2).updateId]);
    expect(again.learning.update(updateOf(2).updateId)).toEqual(updateOf(2));
    again.learning.removeUpdate(updateOf(1).updateId);
    again.learning.removeUpdate("never heard of");
    expect(again.learning.queuedUpdates(9)).toEqual([updateOf(2).updateId, updateOf(3).updateId]);
    expect(again.counter("updates_trained")).toBe(3);
    expect(again.counter("samples_trained")).toBe(150);
  });

  test("closed windows wait until they are removed, oldest first, as many as fit", () => {
    const { store, reopen } = open();
    expect(store.summaries.oldest(1e6)).toEqual([]);
    store.summaries.add([summariesOf(1), summariesOf(2)]);
    store.summaries.add([summariesOf(3)]);
    const again = reopen();
    const queued = again.summaries.oldest(1e6);
    expect(queued.map(({ summaries }) => summaries)).toEqual([summariesOf(1), summariesOf(2), summariesOf(3)]);
    expect(again.summaries.oldest(1)).toEqual(queued.slice(0, 1)); // a single one may be larger than all that is allowed
    const bytes = again.outboxBytes().summaries;
    expect(again.summaries.oldest(bytes - 1)).toEqual(queued.slice(0, 2));
    again.summaries.remove(queued.slice(0, 2).map(({ sequence }) => sequence));
    again.summaries.remove([queued[0]?.sequence ?? 0]);
    expect(again.summaries.oldest(1e6)).toEqual(queued.slice(2));
    again.summaries.clear();
    expect(again.outboxBytes().summaries).toBe(0);
  });

  test("a full queue of windows drops its oldest, each window counted, and nothing else", () => {
    const { store } = open({ maxOutboxBytes: 2000 });
    store.learning.addUpdate(updateOf(1), false);
    for (let number = 1; number <= 9; number++) store.summaries.add([summariesOf(number, 2)]);
    const kept = store.summaries.oldest(1e6);
    expect(store.outboxBytes().summaries).toBeLessThanOrEqual(2000);
    expect(kept.at(-1)?.summaries).toEqual(summariesOf(9, 2));
    expect(store.counter("dropped_window")).toBe(2 * (9 - kept.length));
    expect(store.learning.queuedUpdates(9)).toHaveLength(1);
  });

  test("windows that were open come back once, with the next start", () => {
    const { store, reopen } = open();
    const windows = new DeviceWindows(1, { windowMs: 30_000, latenessMs: 60_000 });
    windows.add({ atMs: 1_000, values: Float64Array.of(2), z: null, anomaly: null });
    const about = { cohort: PUMPS, windowMs: 30_000, channels: ["flow"], snapshot: windows.snapshot() };
    const saved = ["pump-1", "pump-2"].map((device) => ({ ...about, deviceId: deviceId(device) }));
    store.summaries.saveOpen(saved.slice(0, 1));
    store.summaries.saveOpen(saved);
    const again = reopen();
    expect(again.summaries.takeOpen()).toEqual(saved);
    expect(again.summaries.takeOpen()).toEqual([]);
  });

  test("a full outbox drops its oldest, counted, and never the other kind's", () => {
    const { store, reopen } = open({ maxOutboxBytes: 2000 });
    store.alerts.addMessages([message("kept")]);
    for (let number = 1; number <= 9; number++) store.learning.addUpdate(updateOf(number, 100), false);
    const kept = store.learning.queuedUpdates(99);
    expect(kept.at(-1)).toBe(updateOf(9).updateId);
    expect(kept.length).toBeGreaterThan(1);
    expect(store.outboxBytes().updates).toBeLessThanOrEqual(2000);
    expect(reopen().counter("dropped_update")).toBe(9 - kept.length);
    for (let number = 0; number < 100; number++) store.alerts.addMessages([message(`topic-${number}`)]);
    expect(store.outboxBytes().alerts).toBeLessThanOrEqual(2000);
    expect(store.alerts.queuedMessages(99).at(-1)?.message.topic).toBe("topic-99");
    expect(store.counter("dropped_alert")).toBeGreaterThan(0);
    expect(store.learning.queuedUpdates(99)).toEqual(kept);
  });

  test("an update that says all its cohort's earlier ones say takes their place, and no other cohort's", () => {
    const { store, reopen } = open();
    const other = { ...updateOf(2), cohort: cohortId("fans") };
    for (const update of [updateOf(1), other, updateOf(3)]) store.learning.addUpdate(update, false);
    store.learning.addUpdate(updateOf(4), true);
    expect(reopen().learning.queuedUpdates(9)).toEqual([other.updateId, updateOf(4).updateId]);
    expect(store.counter("superseded_update")).toBe(2);
    expect(store.counter("dropped_update")).toBe(0);
    expect(store.counter("updates_trained")).toBe(4);
  });

  test("a day's bytes come back as they were saved, and a day that is not known has none", () => {
    const { store, reopen } = open();
    const bytes = { ...noBytes, flashWritten: 4096, coordinatorSent: 10 };
    store.ledger.save("2026-01-31", noBytes);
    store.ledger.save("2026-01-31", bytes);
    expect(reopen().ledger.day("2026-01-31")).toEqual(bytes);
    expect(store.ledger.day("2026-02-01")).toEqual(noBytes);
  });

  test("the ledger forgets the oldest days", () => {
    const { store } = open();
    const day = (n: number) => new Date(n * 86_400_000).toISOString().slice(0, 10);
    for (let n = 0; n < 410; n++) store.ledger.save(day(n), { ...noBytes, brokerSent: 1 });
    expect(store.ledger.day(day(9)).brokerSent).toBe(0);
    expect(store.ledger.day(day(10)).brokerSent).toBe(1);
  });

  test("a transaction that throws leaves nothing behind", () => {
    const { store } = open();
    const work = () => {
      store.learning.addUpdate(updateOf(1), false);
      store.alerts.saveEpisode(episodeOf("a1"));
      throw new Error("power cut");
    };
    expect(() => store.transaction(work)).toThrow("power cut");
    expect(store.learning.queuedUpdates(9)).toEqual([]);
    expect(store.alerts.episodes()).toEqual([]);
    expect(store.counter("updates_trained")).toBe(0);
  });

  test("devices come back as they were saved", () => {
    const { store, reopen } = open();
    store.learning.startPlan(PUMPS, PLAN);
    const device = new Device(deviceId("pump-1"), PLAN.manifest.channels);
    device.adoptPlan(PLAN.manifest);
    const record = device.record();
    store.learning.saveDevices(PUMPS, [record]);
    store.learning.saveDevices(PUMPS, [record]);
    expect(reopen().learning.devices(PUMPS)).toEqual([record]);
  });

  test("an episode is unreported again whenever it was saved since its report", () => {
    const { store, reopen } = open();
    store.alerts.saveEpisode(episodeOf("a1"));
    const reported = store.alerts.unreported(9);
    expect(reported.map(({ episode }) => episode)).toEqual([episodeOf("a1")]);
    store.alerts.saveEpisode(episodeOf("a1", "cleared"));
    store.alerts.markReported(reported);
    const again = reopen();
    const rest = again.alerts.unreported(9);
    expect(rest.map(({ episode }) => episode.state)).toEqual(["cleared"]);
    again.alerts.markReported(rest);
    expect(again.alerts.unreported(9)).toEqual([]);
    expect(again.alerts.episodes()).toHaveLength(1);
  });

  test("an episode is found by its id, with what operators said of it", () => {
    const { store, reopen } = open();
    const ack = { action: "confirm", atMs: 5000, movedThreshold: false } as const;
    store.alerts.saveEpisode(episodeOf("a1"));
    store.alerts.saveEpisode({ ...episodeOf("a2"), ack });
    const again = reopen();
    expect(again.alerts.episode("a2")).toEqual({ ...episodeOf("a2"), ack });
    expect(again.alerts.episode("a3")).toBeNull();
  });

  test("a snooze is one a device and model, and lasts until it is ended", () => {
    const { store, reopen } = open();
    const about = { deviceId: deviceId("pump-1"), kind: "z_score" } as const;
    const other = { ...about, kind: "federated", untilMs: 7000 } as const;
    store.alerts.saveSnooze({ ...about, untilMs: 5000 });
    store.alerts.saveSnooze({ ...about, untilMs: 9000 });
    store.alerts.saveSnooze(other);
    const again = reopen();
    expect(again.alerts.snoozes()).toEqual([other, { ...about, untilMs: 9000 }]);
    again.alerts.endSnooze(about);
    expect(reopen().alerts.snoozes()).toEqual([other]);
  });

  test("cleared episodes are bounded, active ones are kept", () => {
    const { store } = open();
    store.alerts.saveEpisode(episodeOf("active"));
    store.transaction(() => {
      for (let number = 0; number < 1010; number++) store.alerts.saveEpisode(episodeOf(`a${number}`, "cleared"));
    });
    const kept = store.alerts.episodes().map(({ alertId }) => alertId);
    expect(kept).toHaveLength(1001);
    expect(kept[0]).toBe("active");
    expect(kept.at(-1)).toBe("a1009");
  });

  test("retained topics are emptied once, when due, also after a restart", () => {
    const { store, reopen } = open();
    store.alerts.emptyAt("cleared", 1000);
    store.alerts.emptyAt("raised again", 1000);
    store.alerts.emptyAt("raised again", null);
    const again = reopen();
    again.alerts.emptyDue(999);
    expect(again.alerts.queuedMessages(9)).toEqual([]);
    again.alerts.emptyDue(1000);
    const [queued] = again.alerts.queuedMessages(9);
    expect(queued?.message).toEqual({ topic: "cleared", payload: "", retain: true });
    again.alerts.removeMessage(queued?.sequence ?? 0);
    again.alerts.emptyDue(2000);
    expect(again.alerts.queuedMessages(9)).toEqual([]);
  });

  test("a retained topic that a clock far ahead was to empty is emptied once the clock was set back", () => {
    const { store } = open();
    store.alerts.emptyAt("within the hour", 5_000 + 3_600_000);
    store.alerts.emptyAt("next year", 5_001 + 3_600_000);
    store.alerts.emptyDue(5_000);
    expect(store.alerts.queuedMessages(9).map(({ message: { topic } }) => topic)).toEqual(["next year"]);
  });

  test("what Home Assistant was told of is known until it is taken back", () => {
    const { store, reopen } = open();
    for (const topic of ["b", "a", "b"]) store.alerts.addDiscovered(topic);
    const again = reopen();
    expect(again.alerts.discovered()).toEqual(["a", "b"]);
    again.alerts.removeDiscovered("a");
    expect(reopen().alerts.discovered()).toEqual(["b"]);
  });

  test("there is one active storm or none", () => {
    const { store, reopen } = open();
    const storm: Storm = {
      alertId: "s1",
      state: "active",
      severity: "major",
      confidence: 0.8,
      share: 0.3,
      startedAtMs: 1000,
      updatedAtMs: 2000,
      count: 3,
      devices: [deviceId("pump-1")],
    };
    store.alerts.saveStorm({ ...storm, count: 2 });
    store.alerts.saveStorm(storm);
    const again = reopen();
    expect(again.alerts.storm()).toEqual(storm);
    again.alerts.saveStorm(null);
    expect(reopen().alerts.storm()).toBeNull();
  });
}

let files = 0;
agentStoreContract((limits = {}) => {
  const path = join(folder, `store-${++files}`, "agent.sqlite");
  let current = new SqliteStore(path, { nowMs: 0, ...limits });
  const handle: AgentStore = {
    get learning() {
      return current.learning;
    },
    get alerts() {
      return current.alerts;
    },
    get summaries() {
      return current.summaries;
    },
    get ledger() {
      return current.ledger;
    },
    transaction: (work) => current.transaction(work),
    state: () => current.state(),
    keepHouse: () => current.keepHouse(),
    counter: (name) => current.counter(name),
    outboxBytes: () => current.outboxBytes(),
    close: () => current.close(),
  };
  const reopen = () => {
    current.close();
    current = new SqliteStore(path, { nowMs: 0, ...limits });
    return handle;
  };
  return { store: handle, reopen };
});
