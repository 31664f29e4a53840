// Readings to judged rows: every row enters its device, goes through the champion beside other devices' rows, and is judged.
import type { DeviceId } from "../learning/ids.ts";
import type { Reading } from "../learning/telemetry/default-mapping.ts";
import { isRefusal, type Refusal } from "../learning/telemetry/refusal.ts";
import type { Cohort } from "./cohort.ts";
import type { EnteredRow, Judged } from "./core/device.ts";
import type { Learner } from "./learner.ts";

export interface JudgedRow extends Judged {
  readonly entered: EnteredRow;
}

/**
 * Each device's rows in their order; a refused one goes to `refuse`. Rows that may be learned are handed to the learner. What
 * a row is judged to be can move what the device's next one is told from, so a run has at most one row of a device.
 */
export async function judgeRows(
  cohort: Cohort,
  readings: readonly Reading[],
  refuse: (reading: Reading, refusal: Refusal) => void,
): Promise<JudgedRow[]> {
  const judged: JudgedRow[] = [];
  for (const run of runsOf(readings)) {
    const rows = await judgeRun(cohort, run, refuse);
    await calibrateNew(cohort, rows);
    judged.push(...rows);
  }
  return judged;
}

/** The first reading of every device, then the second of every device that has one, and so on. */
function runsOf(readings: readonly Reading[]): readonly (readonly Reading[])[] {
  const runs: Reading[][] = [];
  const seen = new Map<DeviceId, number>();
  for (const reading of readings) {
    const run = seen.get(reading.deviceId) ?? 0;
    seen.set(reading.deviceId, run + 1);
    const members = runs[run];
    if (members === undefined) runs.push([reading]);
    else members.push(reading);
  }
  return runs;
}

async function judgeRun(
  cohort: Cohort,
  readings: readonly Reading[],
  refuse: (reading: Reading, refusal: Refusal) => void,
): Promise<JudgedRow[]> {
  const entered = readings.flatMap((reading) => {
    const row = enter(cohort, reading);
    if (!isRefusal(row)) return [row];
    refuse(reading, row);
    return [];
  });
  const scored = await scoresOf(cohort, entered);
  return entered.map((row) => {
    const score = scored.get(row);
    const answer = score ? row.device.judgeByModel(row, score.score, score.residual) : row.device.judgeByOwnRows(row);
    if (cohort.learner !== null) learnFrom(cohort.learner, row, answer.learnable);
    return { entered: row, ...answer };
  });
}

/** Devices that have their calibration rows get their threshold at once: until then all they do is taken as normal. */
async function calibrateNew({ learner }: Cohort, judged: readonly JudgedRow[]): Promise<void> {
  const waiting = judged.map(({ entered }) => entered.device).filter(({ monitor }) => monitor?.awaitsCalibration);
  if (waiting.length > 0) await learner?.recalibrate(waiting);
}

/** A plan that learns from labels takes the rows that have one, now or once it comes; any other takes the good rows. */
function learnFrom(learner: Learner, row: EnteredRow, learnable: boolean): void {
  const { device, atMs, observed, commissioned, label } = row;
  if (row.steppedBack) device.forgetSeen();
  if (device.seen === null) {
    if (commissioned !== null) learner.learnAll(commissioned);
    if (learnable && observed !== null) learner.learn(observed.features);
    return;
  }
  device.seen.enter(atMs, observed?.features ?? null);
  if (label === null) return;
  device.seen.label({ label, fromMs: atMs, toMs: atMs }, (features, said) => learner.learn(features, said));
}

function enter(cohort: Cohort, reading: Reading): EnteredRow | Refusal {
  const device = cohort.deviceOf(reading);
  if (isRefusal(device)) return device;
  device.serveBy(cohort.detectorOf(device));
  const row = device.enter(reading);
  if (!isRefusal(row)) cohort.keep(device);
  return row;
}

interface RowScore {
  readonly score: number;
  readonly residual: Float32Array;
}

async function scoresOf(cohort: Cohort, entered: readonly EnteredRow[]): Promise<Map<EnteredRow, RowScore>> {
  const { learner } = cohort;
  const rows = entered.filter(({ device, observed }) => device.kind === "federated" && observed !== null);
  if (learner === null || rows.length === 0) return new Map();
  const { scores, residuals } = await learner.score(rows.flatMap(({ observed }) => observed?.features ?? []));
  const columns = learner.plan.manifest.residualChannels.length;
  return new Map(
    rows.map((row, index) => {
      const residual = residuals.subarray(index * columns, (index + 1) * columns);
      return [row, { score: scores[index] ?? 0, residual }];
    }),
  );
}
