import { expect, test } from "vitest";
import { Cohort } from "../../agent/cohort.ts";
import { judgeRows } from "../../agent/judge-rows.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { keptIn } from "../support/kept-in.ts";
import { labelledSettings } from "../support/labelled-plan.ts";
import { openLearner } from "../support/open-learner.ts";
import { smallSettings } from "../support/small-plan.ts";

const PUMPS = cohortId("pumps");
const PUMP = deviceId("pump-1");
const HEALTHY_ROWS = 300;

/** So many readings of the pump, one a second from `from` on; of a faulty one the current is far too high. */
function readings(rows: number, from: number, { fault = false, label = null as 0 | 1 | null } = {}): Reading[] {
  const random = seededRandom(from + 1);
  return Array.from({ length: rows }, (_, row) => {
    const flow = 30 + 2 * random.normal();
    const values = new Map([
      ["flow", flow],
      ["current", flow / 10 + 0.05 * random.normal() + (fault ? 4 : 0)],
    ]);
    const atMs = 1000 * (from + row);
    return { deviceId: PUMP, atMs, receivedAtMs: atMs, units: new Map(), values, label };
  });
}

/** A pump that has run for a while, and weights that its own rows trained. */
async function openPump(settings: PlanSettings = smallSettings(), rows = readings(HEALTHY_ROWS, 0)) {
  const opened = await openLearner(PUMPS, settings);
  const { cohort, learner, path } = opened;
  const run = (some: readonly Reading[]) => judgeRows(cohort, some, () => expect.unreachable("a row was refused"));
  await run(rows);
  await learner.train();
  const trained = learner.slot?.local ?? new Float32Array(0);
  const threshold = () => cohort.devices.get(PUMP)?.monitor?.threshold;
  /** What another process would read from the file. */
  const kept = () => {
    const record = keptIn(path, (store) => store.learning.cohort(PUMPS));
    return [record?.slot?.globalVersion, record?.candidate?.globalVersion, record?.previous?.globalVersion];
  };
  return { ...opened, run, trained, wrecked: wreck(trained), threshold, kept };
}

const wreck = (weights: Float32Array) => weights.map((weight, index) => (index % 2 === 0 ? 30 : -30) - weight);

test("a model that is clearly worse is not activated: detection and training go on by the active one", async () => {
  const { learner, trained, wrecked, activate, threshold, run, updates, kept } = await openPump();
  expect(await activate(2, true, trained)).toBe("activated");
  const before = threshold();
  expect(await activate(3, true, wrecked)).toBe("held");
  expect(learner.slot).toMatchObject({ globalVersion: 2, base: trained });
  const { candidate } = learner.spares;
  expect(candidate).toMatchObject({ globalVersion: 3, weights: wrecked });
  expect(candidate?.trial).toMatchObject({ measure: "ratio", rows: 200, labelledRows: 0, worse: true });
  expect(candidate?.trial?.change).toBeGreaterThan(2);
  expect(threshold()).toBe(before);
  expect(kept()).toEqual([2, 3, 1]);
  const judged = await run(readings(10, HEALTHY_ROWS, { fault: true }));
  expect(judged.at(-1)?.observation).toMatchObject({ active: true, threshold: before });
  await run(readings(100, HEALTHY_ROWS + 100));
  await learner.train();
  expect(updates.at(-1)).toMatchObject({ baseVersion: 2 });
});

test("a candidate that comes again is not tried again, what comes with it is in force, and a good model takes its place", async () => {
  const { learner, trained, wrecked, activate, kept, bundle } = await openPump();
  await activate(2, true, trained);
  await activate(3, true, wrecked);
  const { candidate } = learner.spares;
  const again = { kind: "globalModel", cohort: PUMPS, planId: bundle.planId, globalVersion: 3 } as const;
  const { fleet } = learner;
  expect(
    await learner.activate({
      ...again,
      weights: wrecked,
      trained: true,
      fleet,
      learningRateFactor: 1.5,
      trainWhenInvited: true,
    }),
  ).toBe("unchanged");
  expect(learner.spares.candidate).toBe(candidate);
  expect(learner.slot?.trainWhenInvited).toBe(true);
  expect(
    await activate(
      4,
      true,
      wrecked.map((weight) => -weight),
    ),
  ).toBe("held");
  expect(learner.spares.candidate?.globalVersion).toBe(4);
  expect(
    await activate(
      5,
      true,
      trained.map((weight) => weight * 1.01),
    ),
  ).toBe("activated");
  expect(kept()).toEqual([5, undefined, 2]);
});

test("a first detector is never tried, nor is any model on too few rows", async () => {
  const first = await openPump();
  expect(await first.activate(2, true, first.wrecked)).toBe("activated");
  const young = await openPump(smallSettings(), readings(60, 0));
  await young.activate(2, true, young.trained);
  expect(await young.activate(3, true, young.wrecked)).toBe("activated");
});

test("a coordinator that goes back to the weights that were active before is believed", async () => {
  const { trained, wrecked, activate, kept } = await openPump();
  await activate(2, true, wrecked);
  expect(await activate(3, true, trained)).toBe("activated");
  expect(await activate(4, true, wrecked)).toBe("activated");
  expect(kept()).toEqual([4, undefined, 3]);
});

test("an operator can have the candidate, and go back from it to what was active before", async () => {
  const { learner, trained, wrecked, activate, threshold, kept } = await openPump();
  await activate(2, true, trained);
  const before = threshold();
  await activate(3, true, wrecked);
  expect(await learner.activateCandidate(9)).toBe(false);
  expect(await learner.activateCandidate(3)).toBe(true);
  expect(threshold()).not.toBe(before);
  expect(kept()).toEqual([3, undefined, 2]);
  expect(await learner.activateCandidate(3)).toBe(false);
  expect(await learner.rollBack()).toBe(true);
  expect(learner.slot).toMatchObject({ globalVersion: 2, base: trained, local: trained });
  expect(learner.spares).toMatchObject({ candidate: { globalVersion: 3, trial: null }, previous: null });
  expect(threshold()).toBe(before);
  expect(await learner.rollBack()).toBe(false);
});

test("a rollback lasts until a newer model comes", async () => {
  const { learner, trained, activate, kept } = await openPump();
  const better = trained.map((weight) => weight * 1.01);
  await activate(2, true, trained);
  expect(await activate(3, true, better)).toBe("activated");
  await learner.rollBack();
  expect(await activate(3, true, better)).toBe("unchanged");
  expect(kept()).toEqual([2, 3, undefined]);
  expect(await activate(4, true, better)).toBe("activated");
  expect(kept()).toEqual([4, undefined, 2]);
});

test("models, and where each stands, are the same after a restart", async () => {
  const { cohort, learner, trained, wrecked, activate, reopen, threshold } = await openPump();
  const restarted = async () => {
    const again = await reopen();
    const restored = new Cohort(PUMPS, 0, () => false);
    restored.restore(again, cohort.records(), () => expect.unreachable());
    expect([again.slot, again.spares]).toEqual([learner.slot, learner.spares]);
    expect(restored.held()).toEqual(cohort.held());
    expect(restored.devices.get(PUMP)?.monitor?.threshold).toBe(threshold());
    return again;
  };
  await activate(2, true, trained);
  await activate(3, true, wrecked);
  await restarted();
  await learner.activateCandidate(3);
  await restarted();
  await learner.rollBack();
  const again = await restarted();
  expect(await again.activateCandidate(3)).toBe(true);
});

test("after the coordinator's versions began again there is no way back to a model from before", async () => {
  const { learner, trained, wrecked, activate } = await openPump();
  await activate(7, true, trained);
  await activate(8, true, wrecked);
  expect(await activate(1, false)).toBe("activated");
  expect(learner.spares).toEqual({ candidate: null, previous: null });
});

test("a model that can't be kept changes nothing", async () => {
  const { learner, store, trained, wrecked, activate, threshold } = await openPump();
  await activate(2, true, trained);
  const [before, spares] = [threshold(), learner.spares];
  store.close();
  await expect(activate(3, true, wrecked)).rejects.toThrow();
  expect(learner.slot?.globalVersion).toBe(2);
  expect(learner.spares).toBe(spares);
  await expect(learner.rollBack()).rejects.toThrow();
  expect([learner.slot?.globalVersion, threshold()]).toEqual([2, before]);
});

test("a classifier that takes the labelled faults for normal is held, though it scores normal rows as low as before", async () => {
  const rows = [...readings(60, 0), ...readings(40, 60, { label: 0 }), ...readings(40, 100, { fault: true, label: 1 })];
  const { learner, trained, activate } = await openPump(labelledSettings(), rows);
  await activate(2, true, trained);
  const blind = new Float32Array(trained.length);
  blind[blind.length - 1] = -9; // the bias: every row is normal
  expect(await activate(3, true, blind)).toBe("held");
  const { trial } = learner.spares.candidate ?? {};
  expect(trial).toMatchObject({ measure: "difference", labelledRows: 80, worse: true });
  expect(trial?.labelledChange).toBeGreaterThan(0.2);
});
