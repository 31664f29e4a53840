import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../../agent/adapters/sqlite-store.ts";
import { Lane } from "../../agent/lane.ts";
import { Learner } from "../../agent/learner.ts";
import type { Feedback, GlobalModel, Invitation, Update } from "../../agent/ports/coordinator-link.ts";
import { decodeDelta } from "../../learning/codecs/codec.ts";
import { noFleet } from "../../learning/fleet.ts";
import { cohortId, updateId } from "../../learning/ids.ts";
import type { DeltaCodec } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import { decodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { testPlan } from "../support/scripted-coordinator.ts";
import { smallSettings } from "../support/small-plan.ts";
import { temporaryFolder } from "../support/temp.ts";

const PUMPS = cohortId("pumps");
function planWith(codec: DeltaCodec) {
  const settings = smallSettings();
  const { bytes, planId } = testPlan({ ...settings, training: { ...settings.training, codec } });
  return { bytes, ...decodeBundle(bytes, planId) };
}
const PLAN = planWith({ kind: "float32" });
const SPARSE_PLAN = planWith({ kind: "top_k_int8", share: 0.1 });
const { featureCount } = PLAN.manifest;

const model = (change: Partial<GlobalModel> = {}): GlobalModel => ({
  kind: "globalModel",
  cohort: PUMPS,
  planId: PLAN.planId,
  globalVersion: 1,
  weights: PLAN.initialWeights,
  trained: false,
  learningRateFactor: null,
  trainWhenInvited: false,
  fleet: noFleet,
  ...change,
});

const feedback = (globalVersion: number, learningRateFactor: number, promoted = true): Feedback => ({
  kind: "feedback",
  cohort: PUMPS,
  planId: null,
  globalVersion,
  promoted,
  learningRateFactor,
  reason: "",
});

/** A learner over the plan's real graphs and a real file, with a clock that the test sets. */
async function openLearner(plan = PLAN) {
  const path = join(temporaryFolder("agent-learner"), "agent.sqlite");
  let store = new SqliteStore(path, { nowMs: 0 });
  store.learning.startPlan(PUMPS, plan);
  const clock = { nowMs: 1_000_000 };
  const updates: Update[] = [];
  const problems: string[] = [];
  let ids = 0;
  const deps = {
    cohort: PUMPS,
    lane: new Lane(),
    nowMs: () => clock.nowMs,
    newUpdateId: () => updateId(`01${String(++ids).padStart(24, "0")}`),
    devices: () => [],
    seed: 1,
    dueRecords: () => [],
    onTrained: (update: Update) => updates.push(update),
    onProblem: (kind: string) => problems.push(kind),
  };
  /** A learner of what the file holds. */
  const start = async () => {
    const record = store.learning.cohort(PUMPS);
    if (record === null) throw new Error("the file holds no plan");
    return new Learner({ ...deps, store }, await PlanModel.load(plan), record);
  };
  let learner = await start();
  await learner.activate(model());
  const restart = async () => {
    await learner.close();
    store.close();
    store = new SqliteStore(path, { nowMs: 0 });
    learner = await start();
    return { learner, store };
  };
  onTestFinished(async () => {
    await learner.close();
    store.close();
  });
  const random = seededRandom(9);
  const rows = (count: number) => {
    for (let row = 0; row < count; row++) learner.learn(Float32Array.from({ length: featureCount }, random.normal));
  };
  return { learner, store, path, clock, updates, problems, rows, restart };
}

/** Writes to `table` fail from outside, as on a full disk, until the function that this returns is called. */
function fillDisk(path: string, table: string): () => void {
  const other = new Database(path);
  other.exec(`CREATE TRIGGER full BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'disk full'); END`);
  return () => {
    other.exec("DROP TRIGGER full");
    other.close();
  };
}

const decoded = ({ manifest }: typeof PLAN, updates: readonly Update[]) =>
  updates.map(({ delta }) => decodeDelta(manifest.training.codec, delta, manifest.weights));

const sum = (deltas: readonly Float32Array[]) =>
  PLAN.initialWeights.map((_, index) => deltas.reduce((total, delta) => total + (delta[index] ?? 0), 0));

test("the updates of one base add up to how far the local weights are from it", async () => {
  const { learner, updates, rows } = await openLearner();
  rows(50);
  await learner.train();
  rows(60);
  await learner.train();
  expect(updates.map(({ samples, baseVersion }) => [samples, baseVersion])).toEqual([
    [50, 1],
    [60, 1],
  ]);
  const { base, local } = learner.slot ?? { base: Float32Array.of(), local: Float32Array.of() };
  const moved = local.map((weight, index) => weight - (base[index] ?? 0));
  expect(moved.some((value) => Math.abs(value) > 1e-3)).toBe(true);
  for (const [index, value] of sum(decoded(PLAN, updates)).entries())
    expect(value).toBeCloseTo(moved[index] ?? Number.NaN, 5);
});

test("a training whose loss is no number is said nothing of: local weights go back, its rows are not tried again", async () => {
  const { learner, store, updates, problems, rows } = await openLearner();
  rows(50);
  await learner.train();
  for (let row = 0; row < 50; row++) learner.learn(new Float32Array(featureCount).fill(row === 7 ? Number.NaN : 0.1));
  await learner.train();
  expect(updates).toHaveLength(1);
  expect(problems).toEqual(["training_diverged"]);
  const { base, local } = learner.slot ?? {};
  expect(local).toEqual(base);
  expect(store.learning.cohort(PUMPS)?.slot?.local).toEqual(base);
  expect(learner.due()).toBe(false);
  rows(50);
  await learner.train();
  expect(updates).toHaveLength(2);
});

test("a rejection takes local weights back to the base", async () => {
  const { learner, rows } = await openLearner();
  rows(50);
  await learner.train();
  expect(learner.slot?.local).not.toEqual(PLAN.initialWeights);
  learner.applyFeedback(feedback(2, 0.9, false));
  expect(learner.slot?.local).toEqual(PLAN.initialWeights);
});

test("the factor that comes with a model is bounded, kept, and in force for a model that is active already", async () => {
  const { learner, store } = await openLearner();
  const kept = () => store.learning.cohort(PUMPS)?.learningRateFactor;
  await learner.activate(model({ globalVersion: 2, learningRateFactor: 1.5 }));
  expect(kept()).toBe(1.5);
  await learner.activate(model({ globalVersion: 3 }));
  expect(kept()).toBe(1.5);
  expect(await learner.activate(model({ globalVersion: 3, learningRateFactor: 99 }))).toBe("unchanged");
  expect(kept()).toBe(4);
  expect(learner.applyFeedback(feedback(4, Number.NaN)).learningRateFactor).toBe(4);
});

test("the factor that comes with a model scales the next training", async () => {
  const moved = async (learningRateFactor: number) => {
    const { learner, updates, rows } = await openLearner();
    await learner.activate(model({ globalVersion: 2, learningRateFactor }));
    rows(50);
    await learner.train();
    return Math.hypot(...(decoded(PLAN, updates)[0] ?? []));
  };
  expect(await moved(0.1)).toBeLessThan(0.2 * (await moved(1)));
});

test("feedback on a candidate before the champion changes nothing", async () => {
  const { learner, rows } = await openLearner();
  await learner.activate(model({ globalVersion: 9, learningRateFactor: 1.2 }));
  rows(50);
  await learner.train();
  const { local } = learner.slot ?? {};
  expect(learner.applyFeedback(feedback(5, 0.5, false))).toMatchObject({ globalVersion: 5, learningRateFactor: 1.2 });
  expect(learner.slot?.local).toEqual(local);
  expect(learner.applyFeedback(feedback(10, 0.5, false)).learningRateFactor).toBe(0.5);
});

test("a training that can't be kept is tried again a minute later, with its rows", async () => {
  const { learner, store, path, clock, updates, problems, rows } = await openLearner();
  const emptyDisk = fillDisk(path, "outbox");
  rows(50);
  expect(learner.due()).toBe(true);
  await learner.train();
  expect([problems, updates, learner.slot?.local]).toEqual([["training_failed"], [], PLAN.initialWeights]);
  rows(50);
  clock.nowMs += 59_999;
  expect(learner.due()).toBe(false);
  clock.nowMs += 1;
  expect(learner.due()).toBe(true);
  emptyDisk();
  await learner.train();
  expect(updates.map(({ samples }) => samples)).toEqual([100]);
  expect(store.learning.queuedUpdates(9)).toEqual(updates.map((update) => update.updateId));
});

test("what sparse updates leave unsaid goes with later ones, the same bytes with a restart and without", async () => {
  const run = async (restartAfter: number | null) => {
    const opened = await openLearner(SPARSE_PLAN);
    let { learner } = opened;
    const { updates, rows, restart } = opened;
    for (let training = 1; training <= 12; training++) {
      rows(50);
      await learner.train();
      if (training === restartAfter) ({ learner } = await restart());
    }
    return { slot: learner.slot, updates };
  };
  const { slot, updates } = await run(null);
  if (slot === null) throw new Error("there is no slot");
  const moved = slot.local.map((weight, index) => weight - (slot.base[index] ?? 0));
  const said = sum(decoded(SPARSE_PLAN, updates));
  const unsaid = moved.map((value, index) => value - (said[index] ?? 0));
  for (const [index, value] of slot.residual.entries()) expect(value).toBeCloseTo(unsaid[index] ?? Number.NaN, 5);
  const first = decoded(SPARSE_PLAN, updates)[0] ?? [];
  expect(first.filter((value) => value !== 0).length).toBeLessThan(moved.length / 5);
  expect(said.filter((value) => value !== 0).length).toBeGreaterThan(moved.length / 2);
  expect(Math.hypot(...unsaid)).toBeLessThan(0.5 * Math.hypot(...moved));
  const restarted = await run(5);
  expect(restarted.updates.map(({ delta }) => [...delta])).toEqual(updates.map(({ delta }) => [...delta]));
  expect(restarted.slot).toEqual(slot);
});

test("what is owed outlives a champion and not a rejection", async () => {
  const { learner, store, rows } = await openLearner(SPARSE_PLAN);
  const residuals = () => [learner.slot?.residual, store.learning.cohort(PUMPS)?.slot?.residual];
  rows(50);
  await learner.train();
  const owed = learner.slot?.residual;
  expect(owed?.some((value) => value !== 0)).toBe(true);
  await learner.activate(model({ globalVersion: 2 }));
  expect(residuals()).toEqual([owed, owed]);
  learner.applyFeedback(feedback(3, 0.9, false));
  const nothing = new Float32Array(PLAN.initialWeights.length);
  expect(residuals()).toEqual([nothing, nothing]);
});

test("a training that can't be kept changes nothing of what is owed", async () => {
  const { learner, store, path, problems, rows } = await openLearner(SPARSE_PLAN);
  rows(50);
  await learner.train();
  const before = learner.slot;
  const emptyDisk = fillDisk(path, "outbox");
  rows(50);
  await learner.train();
  emptyDisk();
  expect(problems).toEqual(["training_failed"]);
  expect(learner.slot).toEqual(before);
  expect(store.learning.cohort(PUMPS)?.slot).toEqual(before);
});

const invitation = (roundId: number, change: Partial<Invitation> = {}): Invitation => ({
  kind: "invitation",
  cohort: PUMPS,
  roundId,
  baseVersion: 1,
  deadlineMs: 60_000,
  ...change,
});
const inviting = (change: Partial<GlobalModel> = {}) => model({ trainWhenInvited: true, ...change });

test("where gateways are invited, rows alone make no training due, and an invitation one over the rows there are", async () => {
  const { learner, updates, clock, rows } = await openLearner();
  await learner.activate(inviting());
  rows(500);
  clock.nowMs += 86_400_000;
  expect(learner.due()).toBe(false);
  await learner.train();
  expect(updates).toEqual([]);
  learner.invite(invitation(7));
  expect(learner.due()).toBe(true);
  await learner.train();
  expect(updates).toMatchObject([{ roundId: 7, samples: 500, baseVersion: 1 }]);
  rows(500);
  learner.invite(invitation(7)); // said again
  expect(learner.due()).toBe(false);
  learner.invite(invitation(8));
  expect(learner.due()).toBe(true);
});

test("an invitation without rows waits for them, until its deadline", async () => {
  const { learner, clock, rows } = await openLearner();
  await learner.activate(inviting());
  learner.invite(invitation(7));
  expect(learner.due()).toBe(false);
  clock.nowMs += 59_999;
  rows(1);
  expect(learner.due()).toBe(true);
  clock.nowMs += 1;
  expect(learner.due()).toBe(false);
});

test("an invitation to another champion's round is nothing to this one, and one to a cohort that trains by itself neither", async () => {
  const { learner, updates, rows } = await openLearner();
  rows(10);
  learner.invite(invitation(7));
  expect(learner.due()).toBe(false);
  await learner.activate(inviting());
  learner.invite(invitation(8, { baseVersion: 2 }));
  expect(learner.due()).toBe(false);
  await learner.activate(inviting({ globalVersion: 2 }));
  expect(learner.due()).toBe(true);
  await learner.train();
  expect(updates).toMatchObject([{ roundId: 8, baseVersion: 2, samples: 10 }]);
});

test("every invited training starts at the champion, whatever became of the one before", async () => {
  const { learner, updates, rows } = await openLearner();
  await learner.activate(inviting());
  for (const roundId of [7, 8]) {
    rows(50);
    learner.invite(invitation(roundId));
    await learner.train();
  }
  const [, second] = decoded(PLAN, updates);
  const { base, local } = learner.slot ?? {};
  for (const [index, weight] of (local ?? []).entries())
    expect(weight).toBeCloseTo((base?.[index] ?? Number.NaN) + (second?.[index] ?? Number.NaN), 5);
});

test("after a restart it still trains when it is invited, and not for a round that it answered", async () => {
  const opened = await openLearner();
  await opened.learner.activate(inviting());
  opened.rows(50);
  opened.learner.invite(invitation(7));
  await opened.learner.train();
  const { learner, store } = await opened.restart();
  expect(store.learning.update(opened.updates[0]?.updateId ?? updateId(`01${"9".repeat(24)}`))?.roundId).toBe(7);
  for (let row = 0; row < 60; row++) learner.learn(new Float32Array(featureCount).fill(row / 60));
  expect(learner.due()).toBe(false);
  learner.invite(invitation(7));
  expect(learner.due()).toBe(false);
  learner.invite(invitation(8));
  expect(learner.due()).toBe(true);
});

test("a cohort that stops inviting trains by itself again, without another champion", async () => {
  const { learner, store, rows } = await openLearner();
  await learner.activate(inviting());
  rows(50);
  expect(learner.due()).toBe(false);
  await learner.activate(model());
  expect(learner.due()).toBe(true);
  expect(store.learning.cohort(PUMPS)?.slot?.trainWhenInvited).toBe(false);
});

test("a rejection that comes twice, the second time after a restart, costs no training in between", async () => {
  const opened = await openLearner();
  opened.rows(50);
  await opened.learner.train();
  expect(opened.learner.applyFeedback(feedback(2, 0.9, false)).learningRateFactor).toBe(0.9);
  opened.rows(50);
  await opened.learner.train();
  const { local } = opened.learner.slot ?? {};
  expect(opened.learner.applyFeedback(feedback(2, 0.5, false)).learningRateFactor).toBe(0.9);
  expect(opened.learner.slot?.local).toEqual(local);
  const { learner } = await opened.restart();
  expect(learner.applyFeedback(feedback(2, 0.5, false))).toMatchObject({ globalVersion: 2, learningRateFactor: 0.9 });
  expect(learner.slot?.local).toEqual(local);
});
