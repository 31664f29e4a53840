import { expect, test } from "vitest";
import { joined } from "../../agent/core/recent-features.ts";
import { fineTune } from "../../agent/fine-tune.ts";
import { judgeRows } from "../../agent/judge-rows.ts";
import { firstTuned } from "../../learning/fine-tuning.ts";
import { cohortId, deviceId } from "../../learning/ids.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { seededRandom } from "../../learning/random.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { labelledSettings } from "../support/labelled-plan.ts";
import { openLearner } from "../support/open-learner.ts";
import { smallSettings } from "../support/small-plan.ts";

const PUMPS = cohortId("pumps");
const PUMP = deviceId("pump-1");
const HEALTHY_ROWS = 300;

const tuned = (plan: PlanSettings = smallSettings()): PlanSettings => ({
  ...plan,
  fineTuning: { layers: 1, passes: 5 },
});

function readings(rows: number, from: number, label: 0 | 1 | null = null): Reading[] {
  const random = seededRandom(from + 1);
  return Array.from({ length: rows }, (_, row) => {
    const flow = 30 + 2 * random.normal();
    const values = new Map([
      ["flow", flow],
      ["current", flow / 10 + 0.05 * random.normal() + (label === 1 ? 1 : 0)],
    ]);
    const atMs = 1000 * (from + row);
    return { deviceId: PUMP, atMs, receivedAtMs: atMs, units: new Map(), values, label };
  });
}

/** As onnxruntime has them without a learner. */
async function scoresBy(weights: Float32Array, bundle: Parameters<typeof PlanModel.load>[0]): Promise<Float32Array> {
  const model = await PlanModel.load(bundle);
  const { scores } = await model.score(weights, joined(PROBE), PROBE.length);
  await model.release();
  return scores;
}

/** A pump that has run for a while under a champion that knows nothing of it, and a training since. */
async function openPump(settings: PlanSettings) {
  const opened = await openLearner(PUMPS, settings);
  const { cohort, learner, activate, bundle } = opened;
  const run = (rows: readonly Reading[]) => judgeRows(cohort, rows, () => expect.unreachable("a row was refused"));
  await activate(2, true);
  await run(readings(HEALTHY_ROWS, 0));
  await learner.train();
  return { ...opened, run, champion: bundle.initialWeights, moveFrom: firstTuned(bundle.manifest) };
}

/** What the learner says of two rows that no training has seen. */
const RNG = seededRandom(99);
const PROBE = [0, 1].map(() => Float32Array.from({ length: 6 }, () => RNG.normal()));

test("a training tunes the last layer to the gateway's rows, scores by it, and moves no other weight", async () => {
  const { learner, champion, moveFrom, bundle } = await openPump(tuned());
  const { slot } = learner;
  const { weights, rows, championError, tunedError } = slot?.tuning ?? expect.unreachable("nothing was tuned");
  const own = weights ?? expect.unreachable("what was tuned is not used");
  expect(moveFrom).toBe(bundle.manifest.weights.find(({ name }) => name === "layer2.weight")?.offset);
  expect(own.subarray(0, moveFrom)).toEqual(champion.subarray(0, moveFrom));
  expect(own.subarray(moveFrom)).not.toEqual(champion.subarray(moveFrom));
  expect(rows).toBe(40); // a fifth of the 200 rows that the device keeps
  expect(tunedError).toBeLessThan(championError);
  expect(slot?.base).toEqual(champion);
  expect((await learner.score(PROBE)).scores).toEqual(await scoresBy(own, bundle));
  expect((await learner.score(PROBE)).scores).not.toEqual(await scoresBy(champion, bundle));
});

test("thresholds are those of what scores", async () => {
  const { cohort, learner, bundle } = await openPump(tuned());
  const monitor = cohort.devices.get(PUMP)?.monitor ?? expect.unreachable("the device is new");
  const { x, rows } = monitor.calibrationFeatures();
  const { featureCount } = bundle.manifest;
  const features = Array.from({ length: rows }, (_, row) => x.subarray(row * featureCount, (row + 1) * featureCount));
  const { threshold } = monitor;
  monitor.calibrate((await learner.score(features)).scores);
  expect(threshold).not.toBeNull();
  expect(monitor.threshold).toBe(threshold);
});

test("of the same rows the updates are bit for bit those of a gateway that tunes nothing", async () => {
  const deltas = [];
  for (const plan of [tuned(), smallSettings()]) {
    const { updates, learner } = await openPump(plan);
    for (let row = 0; row < 100; row++) learner.learn(PROBE[row % 2] ?? new Float32Array(0));
    await learner.train();
    expect(updates).toHaveLength(2);
    deltas.push(updates.map(({ delta, samples, loss }) => ({ delta, samples, loss })));
  }
  expect(deltas[0]).toEqual(deltas[1]);
});

test("what is tuned is a new champion's when that is trained on, and the same for the same seed, rows and champion", async () => {
  const runs = [];
  for (let time = 0; time < 2; time++) {
    const { learner, run, activate, champion } = await openPump(tuned());
    const first = learner.slot?.tuning;
    await run(readings(100, HEALTHY_ROWS));
    await learner.train();
    expect(learner.slot?.tuning).toBe(first); // an hour has not gone by
    expect(
      await activate(
        3,
        true,
        champion.map((weight) => 0.9 * weight),
      ),
    ).toBe("activated");
    expect(learner.slot?.tuning).toBeNull();
    await run(readings(100, HEALTHY_ROWS + 100));
    await learner.train();
    expect(learner.slot?.tuning?.weights?.at(0)).toBe(Math.fround(0.9 * Number(champion.at(0))));
    runs.push([first, learner.slot?.tuning]);
  }
  expect(runs[0]).toEqual(runs[1]);
});

test("a champion that stays is tuned anew after an hour", async () => {
  const { learner, run, clock } = await openPump(tuned());
  const first = learner.slot?.tuning;
  clock.nowMs += 3_600_000;
  await run(readings(100, HEALTHY_ROWS));
  await learner.train();
  expect(learner.slot?.tuning?.weights).not.toEqual(first?.weights);
});

test("what was tuned survives a restart", async () => {
  const { learner, reopen } = await openPump(tuned());
  const again = await reopen();
  expect(again.slot?.tuning).toEqual(learner.slot?.tuning);
  expect((await again.score(PROBE)).scores).toEqual((await learner.score(PROBE)).scores);
});

test("a classifier is tuned on labelled rows, as many of both kinds held back", async () => {
  const labels = ([0, 1] as const).flatMap((label) => readings(150, 150 * label, label));
  const mixed = labels.map((_, at) => labels[(at * 7) % labels.length] as Reading);
  const inOrder = mixed.map((row, at) => ({ ...row, atMs: 1000 * at, receivedAtMs: 1000 * at }));
  const { learner, cohort, activate } = await openLearner(PUMPS, {
    ...tuned(labelledSettings()),
    commissioningRows: 10,
  });
  await activate(2, true);
  await judgeRows(cohort, inOrder, () => expect.unreachable("a row was refused"));
  await learner.train();
  const { tuning } = learner.slot ?? expect.unreachable("there is no model");
  expect(tuning?.weights).not.toBeNull();
  expect(tuning?.championError).toBeGreaterThan(0.4); // it knows nothing
  expect(tuning?.tunedError).toBeLessThan(0.3);
});

test("what does worse on the rows that were held back, or is no number, is told and does not score", async () => {
  const { bundle, learner, champion, moveFrom } = await openPump(tuned());
  const model = await PlanModel.load(bundle);
  const { featureCount } = bundle.manifest;
  const batch = (value: number) => ({ x: new Float32Array(50 * featureCount).fill(value), y: null, rows: 50 });
  const at = { base: learner.slot?.local ?? champion, globalVersion: 2 };
  const options = { gatewaySeed: 1, signal: new AbortController().signal };
  const far = await fineTune(model, bundle.manifest, at, { tuneOn: batch(5), tryOn: batch(0) }, options);
  expect(far).toMatchObject({ weights: null, rows: 50 });
  expect(far?.tunedError).toBeGreaterThan(Number(far?.championError));
  const endless = await fineTune(model, bundle.manifest, at, { tuneOn: batch(3e38), tryOn: batch(0) }, options);
  expect(endless).toMatchObject({ weights: null, tunedError: null });
  expect(moveFrom).toBeLessThan(champion.length);
  await model.release();
});
