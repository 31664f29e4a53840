// Readings to judged rows: every row enters its device, all go through the champion in one run, then each is judged.
import type { Cohort } from "./cohort.ts";
import type { Reading } from "./core/default-mapping.ts";
import type { EnteredRow, Judged } from "./core/device.ts";
import { isRefusal, type Refusal } from "./core/refusal.ts";

export interface JudgedRow extends Judged {
  readonly entered: EnteredRow;
}

/** In the order of `readings`; a refused one goes to `refuse`. Rows that may be learned are handed to the learner. */
export async function judgeRows(
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
    const judged = score ? row.device.judgeByModel(row, score.score, score.residual) : row.device.judgeByOwnRows(row);
    if (judged.learnable && row.features !== null) cohort.learner?.learn(row.features);
    return { entered: row, ...judged };
  });
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
  const rows = entered.filter(({ device, features }) => device.kind === "federated" && features !== null);
  if (learner === null || rows.length === 0) return new Map();
  const { scores, residuals } = await learner.score(rows.flatMap(({ features }) => features ?? []));
  const columns = learner.plan.manifest.residualChannels.length;
  return new Map(
    rows.map((row, index) => {
      const residual = residuals.subarray(index * columns, (index + 1) * columns);
      return [row, { score: scores[index] ?? 0, residual }];
    }),
  );
}
