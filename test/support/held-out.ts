// Plant recordings as held-out streams: rows with the faults that the plant knows it made.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPump, PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import { openEvaluators } from "../../coordinator/adapters/held-out-evaluator.ts";
import type { HeldOutStream } from "../../coordinator/core/evaluate.ts";
import type { HeldOutLimits } from "../../coordinator/core/held-out.ts";
import type { PlanBundle } from "../../proto/plan-bundle.ts";

export const HELD_OUT_LIMITS: HeldOutLimits = { bytesAStream: 4_000_000, bytesACohort: 6_000_000, streamsACohort: 3 };

/** On these streams, whatever comes. */
export async function openEvaluator(plan: PlanBundle, streams: readonly HeldOutStream[]) {
  const evaluators = await openEvaluators(plan, async () => streams);
  return { ...(await evaluators.now()), close: () => evaluators.close() };
}

export function plantStream(pumpIndex: number, rows: number, firstFaultAfterRows: number): HeldOutStream {
  const pump = createPump({ seed: 3, pumpIndex, startMs: 0, firstFaultAfterRows, faultEveryRows: 200 });
  const all = Array.from({ length: rows }, () => pump.next());
  return {
    stream: `pump-${pumpIndex}`,
    sha256: "0".repeat(64),
    rows: all.map(({ values }) => values),
    atMs: all.map(({ atMs }) => atMs),
    labels: Uint8Array.from(all, ({ fault }) => (fault === null ? 0 : 1)),
  };
}

export function csvOf(stream: HeldOutStream): string {
  const header = ["timestamp", ...PLANT_CHANNELS.map(({ name }) => name), "anomaly"].join(",");
  const lines = stream.rows.map((row, index) =>
    [new Date(stream.atMs[index] ?? 0).toISOString(), ...row, stream.labels[index]].join(","),
  );
  return `${[header, ...lines].join("\n")}\n`;
}

export function writeCsv(folder: string, stream: HeldOutStream): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${stream.stream}.csv`), csvOf(stream));
}
