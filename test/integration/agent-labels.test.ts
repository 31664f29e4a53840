import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { Device } from "../../agent/core/device.ts";
import type { Episode } from "../../agent/core/episode.ts";
import type { AlertWord } from "../../agent/core/labels.ts";
import { Episodes } from "../../agent/episodes.ts";
import { judgeRows } from "../../agent/judge-rows.ts";
import { Labels } from "../../agent/labels.ts";
import { decodeDelta } from "../../learning/codecs/codec.ts";
import { cohortId, deviceId, gatewayId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { keptIn } from "../support/kept-in.ts";
import { labelledSettings } from "../support/labelled-plan.ts";
import { openLearner } from "../support/open-learner.ts";
import { smallSettings } from "../support/small-plan.ts";
import { StillClock } from "../support/still-clock.ts";

const PUMPS = cohortId("pumps");
const PUMP = deviceId("pump-1");

/** A cohort with its learner over the plan's real graphs and a real file, its labels and its episodes. */
async function openCohort(settings: PlanSettings = labelledSettings()) {
  const opened = await openLearner(PUMPS, settings);
  const { cohort, store } = opened;
  let ids = 0;
  const origin = { site: "north", gatewayId: gatewayId("gw-1"), alertPrefix: null };
  const episodes = new Episodes({
    store,
    origin,
    devices: () => 1,
    newId: () => `id-${++ids}`,
    clock: new StillClock(),
    onTransition: () => undefined,
  });
  const refused: string[] = [];
  const labels = new Labels({
    cohorts: [cohort],
    episodes,
    devices: store.learning,
    refuse: (where, { refused: kind }) => refused.push(`${where} ${kind}`),
  });
  const say = (label: 0 | 1, fromS: number, toS: number, device = PUMP) =>
    labels.labelRows({ deviceId: device, label, fromMs: 1000 * fromS, toMs: 1000 * toS });
  const run = (rows: readonly Reading[]) => judgeRows(cohort, rows, () => expect.unreachable("a row was refused"));
  return { ...opened, labels, refused, say, run };
}

type LabelOf = (second: number) => 0 | 1 | null;

/** So many readings of the pump, one a second from `from` on; its current is high in the last 3 of any 10. */
function readings(rows: number, from: number, labelOf: LabelOf = () => null): Reading[] {
  const random = seededRandom(from + 1);
  return Array.from({ length: rows }, (_, row) => {
    const second = from + row;
    const flow = 30 + 2 * random.normal();
    const values = new Map([
      ["flow", flow],
      ["current", flow / 10 + 0.05 * random.normal() + (isFault(second) ? 3 : 0)],
    ]);
    const atMs = 1000 * second;
    return { deviceId: PUMP, atMs, receivedAtMs: atMs, units: new Map(), values, label: labelOf(second) };
  });
}

const isFault = (second: number) => second % 10 >= 7;
const truth: LabelOf = (second) => (isFault(second) ? 1 : 0);
const healthy = (rows: number, from = 0) => readings(rows, from).map((row) => ({ ...row, values: calm(row.values) }));
const calm = (values: Reading["values"]) => new Map([...values]).set("current", Number(values.get("flow")) / 10);

test("labelled rows train a classifier, alarms or not, and unlabelled rows train nothing", async () => {
  const { learner, updates, run } = await openCohort();
  await run(healthy(20));
  await run(readings(100, 20));
  expect(learner.due()).toBe(false);
  await run(readings(60, 120, (second) => (second % 2 === 0 ? truth(second) : null)));
  expect(learner.due()).toBe(true);
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([30]);
  expect(learner.due()).toBe(false);
});

test("a classifier learns what its labels say, and only that", async () => {
  const scoresAfter = async (labelOf: LabelOf) => {
    const { cohort, learner, activate, run } = await openCohort();
    await run(healthy(40));
    for (let from = 40; from < 240; from += 40) {
      await run(readings(40, from, labelOf));
      await learner.train();
    }
    await activate(2, true, learner.slot?.local);
    await run(readings(20, 240));
    const judged = await run(readings(40, 260));
    expect(cohort.devices.get(PUMP)?.kind).toBe("federated");
    const scores = judged.map(({ entered, observation }) => ({
      second: entered.atMs / 1000,
      score: Number(observation?.score),
    }));
    const mean = (fault: boolean) => {
      const some = scores.filter(({ second }) => isFault(second) === fault);
      return some.reduce((sum, { score }) => sum + score, 0) / some.length;
    };
    return [mean(false), mean(true)] as const;
  };
  const [normal, fault] = await scoresAfter(truth);
  expect(normal).toBeLessThan(0.3);
  expect(fault).toBeGreaterThan(0.7);
  const [inverted, invertedFault] = await scoresAfter((second) => (truth(second) === 1 ? 0 : 1));
  expect(inverted).toBeGreaterThan(0.7);
  expect(invertedFault).toBeLessThan(0.3);
});

test("labels that come later join the rows seen, and a row that has both kinds is learned once", async () => {
  const { learner, updates, refused, say, run } = await openCohort();
  await run(healthy(20));
  await run(readings(40, 20, (second) => (second === 30 ? 0 : null)));
  say(1, 25, 34);
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([10]);
  say(0, 25, 36);
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([10, 2]);
  expect(refused).toEqual(["pump-1 trained_label"]);
});

test.each([0, 1] as const)("labels of the class %i alone train towards it, with finite weights", async (label) => {
  const { learner, updates, activate, run } = await openCohort();
  await run(healthy(20));
  for (let round = 0; round < 10; round++) {
    await run(readings(50, 20 + 50 * round, () => label));
    await learner.train();
  }
  expect(updates).toHaveLength(10);
  expect(updates.every(({ loss }) => Number.isFinite(loss))).toBe(true);
  expect(updates.at(-1)?.loss).toBeLessThan(updates[0]?.loss ?? 0);
  expect(learner.slot?.local.every(Number.isFinite)).toBe(true);
  await activate(2, true, learner.slot?.local);
  const judged = await run(readings(20, 600));
  expect(judged.every(({ observation }) => Math.abs(Number(observation?.score) - label) < 0.5)).toBe(true);
});

test("a label never becomes a feature: the same rows with other labels give the same features", async () => {
  const [one, other] = [await openCohort(), await openCohort()];
  const featuresUnder = async ({ run }: typeof one, labelOf: LabelOf) =>
    (await run(readings(60, 0, labelOf))).map(({ entered }) => entered.observed?.features);
  expect(await featuresUnder(one, truth)).toEqual(await featuresUnder(other, () => null));
});

test("without any label a classifier's devices are watched at once, brought up to date, and say nothing", async () => {
  const { cohort, learner, updates, activate, run, clock } = await openCohort();
  await activate(2, true);
  await run(healthy(100));
  const device = cohort.devices.get(PUMP);
  expect([device?.kind, device?.monitor?.threshold]).toEqual(["federated", 0.5]);
  const before = device?.monitor?.expected(0);
  await learner.keepUp();
  expect(device?.monitor?.expected(0)).toEqual(before);
  clock.nowMs += learner.plan.manifest.training.triggerMs;
  await learner.keepUp();
  expect(device?.monitor?.expected(0)).not.toEqual(before);
  await learner.train();
  expect([learner.due(), updates]).toEqual([false, []]);
});

test("labels of an unknown device, of times to come and of rows that are gone are told apart and change nothing", async () => {
  const { learner, refused, say, run } = await openCohort();
  say(1, 0, 9, deviceId("pump-9"));
  await run(healthy(700));
  say(1, 700, 800);
  say(1, 1e9, 2e9);
  say(1, 50, 60);
  // Rows of the commissioning gave no features.
  say(1, 0, 5);
  expect(refused).toEqual([
    "pump-9 unknown_device",
    "pump-1 future_label",
    "pump-1 future_label",
    "pump-1 late_label",
    "pump-1 late_label",
  ]);
  expect(learner.due()).toBe(false);
  say(1, 695, 9999);
  await run(healthy(5, 700));
  await learner.train();
  expect(refused).toHaveLength(5);
});

test("a label for rows that were learned with the other one is told, the same label again is not", async () => {
  const { learner, refused, say, run } = await openCohort();
  await run(healthy(20));
  await run(readings(40, 20, truth));
  await learner.train();
  say(1, 27, 29);
  expect(refused).toEqual([]);
  say(0, 27, 29);
  say(0, 0, 29);
  expect(refused).toEqual(["pump-1 trained_label", "pump-1 late_label", "pump-1 trained_label"]);
  expect(learner.due()).toBe(false);
});

test("a plan that learns without labels refuses them and does not look at a row's", async () => {
  const { learner, updates, refused, say, run } = await openCohort(smallSettings());
  await run(readings(20, 0));
  await run(readings(30, 20, truth));
  say(1, 20, 30);
  expect(refused).toEqual(["pump-1 unlabelled_plan"]);
  const expected = await openCohort(smallSettings());
  await expected.run(readings(20, 0));
  await expected.run(readings(30, 20));
  for (const each of [learner, expected.learner]) await each.train();
  expect(updates[0]?.delta).toEqual(expected.updates[0]?.delta);
  const { codec } = learner.plan.manifest.training;
  const delta = decodeDelta(codec, updates[0]?.delta ?? Buffer.of(), learner.plan.manifest.weights);
  expect(delta.some((value) => value !== 0)).toBe(true);
});

/** What a champion said of the seconds from 60 to 65, at a score of .8 and a fixed threshold of .5. */
const episodeOf = (change: Partial<Episode> = {}): Episode => ({
  alertId: "a1",
  deviceId: PUMP,
  cohort: PUMPS,
  kind: "federated",
  globalVersion: 2,
  localSteps: 0,
  state: "cleared",
  severity: "minor",
  score: 0.8,
  threshold: 0.5,
  ruleThreshold: 0.5,
  confidence: 0.9,
  contributors: [],
  startedAtMs: 60_000,
  updatedAtMs: 80_000,
  lastOverAtMs: 65_000,
  count: 6,
  ack: null,
  missing: [],
  storm: null,
  announced: true,
  ...change,
});

const word = (action: AlertWord["action"], change: Partial<AlertWord> = {}): AlertWord => ({
  deviceId: PUMP,
  kind: "federated",
  action,
  alertId: "a1",
  untilMs: null,
  receivedAtMs: 99_000,
  ...change,
});

async function withEpisode(change: Partial<Episode> = {}) {
  const opened = await openCohort();
  await opened.run(healthy(100));
  await opened.activate(2, true);
  opened.store.alerts.saveEpisode(episodeOf(change));
  const messages = () => opened.store.alerts.queuedMessages(99).length;
  const told = () => JSON.parse(opened.store.alerts.queuedMessages(99).at(-1)?.message.payload ?? "").data;
  const factor = () => opened.cohort.devices.get(PUMP)?.operatorFactor;
  return { ...opened, messages, told, factor };
}

test("a false alarm moves the device's threshold once, is kept at once, and outlives calibrations and trainings", async () => {
  const { cohort, learner, store, labels, run, path, messages, factor } = await withEpisode();
  labels.acknowledge(word("false_alarm"));
  expect(factor()).toBeCloseTo((0.8 / 0.5) * 1.01, 9);
  const told = messages();
  const [kept] = keptIn(path, (store) => store.learning.devices(PUMPS));
  expect(kept).toMatchObject({ deviceId: PUMP, operatorFactor: factor() });
  expect(store.alerts.episode("a1")?.ack).toEqual({ action: "false_alarm", atMs: 99_000, movedThreshold: true });
  labels.acknowledge(word("false_alarm"));
  labels.acknowledge(word("false_alarm", { receivedAtMs: 100_000 }));
  expect(messages()).toBe(told);
  await learner.train();
  await learner.recalibrate();
  const [judged] = await run(healthy(1, 100));
  expect(judged?.observation?.threshold).toBeCloseTo(0.808, 9);
  const record = cohort.devices.get(PUMP)?.record();
  expect(record && Device.restore(record, learner.plan.manifest).operatorFactor).toBe(factor());
});

test("the acked event after a false alarm shows the threshold that is in force from then on, as does the episode", async () => {
  const { labels, store, run, told } = await withEpisode();
  labels.acknowledge(word("confirm"));
  expect(told()).toMatchObject({ score: 0.8, threshold: 0.5, ack: { action: "confirm" } });
  labels.acknowledge(word("false_alarm"));
  const [judged] = await run(healthy(1, 100));
  expect(told()).toMatchObject({ score: 0.8, threshold: judged?.observation?.threshold });
  expect(store.alerts.episode("a1")?.threshold).toBe(judged?.observation?.threshold);
});

test("a reset puts the threshold back at once and for good, and the episode can move it again", async () => {
  const { labels, store, run, told, factor, messages, learner, path } = await withEpisode();
  labels.acknowledge(word("false_alarm"));
  labels.acknowledge(word("reset_threshold"));
  expect(factor()).toBe(1);
  expect(told()).toMatchObject({ threshold: 0.5, ack: { action: "reset_threshold" } });
  expect((await run(healthy(1, 100)))[0]?.observation?.threshold).toBe(0.5);
  const before = messages();
  labels.acknowledge(word("reset_threshold"));
  expect(messages()).toBe(before);
  expect(keptIn(path, (store) => store.learning.devices(PUMPS))).toMatchObject([{ operatorFactor: 1 }]);
  // No label came with it: the rows keep the false alarm's.
  await learner.train();
  labels.acknowledge(word("false_alarm"));
  expect(factor()).toBeCloseTo(1.616, 9);
  store.alerts.saveEpisode(episodeOf({ alertId: "a2", ruleThreshold: 0.5, score: 0.9 }));
  labels.acknowledge(word("reset_threshold"));
  labels.acknowledge(word("false_alarm", { alertId: "a2" }));
  labels.acknowledge(word("reset_threshold"));
  expect(factor()).toBe(1);
});

test("a reset needs no alert that is kept, but a device that is known", async () => {
  const { labels, cohort, refused, factor, messages, path } = await withEpisode();
  const device = cohort.devices.get(PUMP);
  if (device === undefined) throw new Error("the pump is not known");
  device.operatorFactor = 1.7;
  const before = messages();
  labels.acknowledge(word("reset_threshold", { alertId: null }));
  expect([factor(), messages()]).toEqual([1, before]);
  expect(keptIn(path, (store) => store.learning.devices(PUMPS))).toMatchObject([{ deviceId: PUMP, operatorFactor: 1 }]);
  labels.acknowledge(word("reset_threshold", { alertId: null, deviceId: deviceId("pump-2") }));
  expect(refused).toEqual(["pump-2 unknown_device"]);
});

test("no false alarm silences a device for good, and confirming an alarm does not move the threshold", async () => {
  const { labels, store, run, factor } = await withEpisode({ score: 1 });
  labels.acknowledge(word("confirm"));
  expect(factor()).toBe(1);
  expect(store.alerts.episode("a1")?.ack?.movedThreshold).toBe(false);
  labels.acknowledge(word("false_alarm"));
  expect(factor()).toBe(2);
  expect((await run(healthy(1, 100)))[0]?.observation?.threshold).toBe(0.99);
  store.alerts.saveEpisode(episodeOf({ alertId: "a2", kind: "z_score", ruleThreshold: null, score: 40 }));
  labels.acknowledge(word("false_alarm", { alertId: "a2", kind: "z_score" }));
  expect(factor()).toBe(2);
});

test.each([
  ["confirm", 1],
  ["false_alarm", -1],
] as const)("%s labels the episode's rows, up to the last one over the threshold", async (action, direction) => {
  const { learner, labels, updates } = await withEpisode();
  labels.acknowledge(word(action));
  await learner.train();
  const { training, weights } = learner.plan.manifest;
  const bias = decodeDelta(training.codec, updates[0]?.delta ?? Buffer.of(), weights).at(-1);
  expect(updates[0]?.samples).toBe(6);
  expect(Math.sign(bias ?? 0)).toBe(direction);
});

test("a word that can't be kept changes nothing, and can be said again", async () => {
  const { labels, store, path, messages, factor, learner } = await withEpisode();
  const before = messages();
  const other = new Database(path);
  other.exec("CREATE TRIGGER full BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  expect(() => labels.acknowledge(word("false_alarm"))).toThrow("disk full");
  expect([messages(), factor(), store.alerts.episode("a1")?.ack]).toEqual([before, 1, null]);
  expect(learner.due()).toBe(false);
  other.exec("DROP TRIGGER full");
  other.close();
  labels.acknowledge(word("false_alarm"));
  expect(factor()).toBeGreaterThan(1);
});

test("an operator who changes their mind labels rows anew, and the threshold stays where it was put", async () => {
  const { labels, updates, learner, store, factor } = await withEpisode();
  for (const action of ["false_alarm", "confirm", "false_alarm", "confirm"] as const) {
    labels.acknowledge(word(action));
    const episode = store.alerts.episode("a1");
    if (episode !== null) store.alerts.saveEpisode({ ...episode, score: 0.9 });
  }
  const { training, weights } = learner.plan.manifest;
  expect(factor()).toBeCloseTo(1.616, 9);
  expect(store.alerts.episode("a1")?.ack).toMatchObject({ action: "confirm", movedThreshold: true });
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([6]);
  expect(decodeDelta(training.codec, updates[0]?.delta ?? Buffer.of(), weights).at(-1)).toBeGreaterThan(0);
});

test("a word on an alert that is not kept, or another device's or model's, is refused and changes nothing", async () => {
  const { labels, refused, messages, factor } = await withEpisode();
  const before = messages();
  labels.acknowledge(word("false_alarm", { alertId: "never" }));
  labels.acknowledge(word("false_alarm", { deviceId: deviceId("pump-2") }));
  labels.acknowledge(word("false_alarm", { kind: "z_score" }));
  labels.acknowledge(word("false_alarm", { alertId: null, kind: "z_score" }));
  expect(refused).toEqual(["pump-1", "pump-2", "pump-1", "pump-1"].map((device) => `${device} unknown_alert`));
  expect([messages(), factor()]).toEqual([before, 1]);
});
