// A held-out stream from a labelled CSV.
import { createHash } from "node:crypto";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { type LabelledCsv, parseLabelledCsv } from "../../runtime/labelled-csv.ts";
import type { HeldOutStream } from "../core/evaluate.ts";

/** Every row is scored in every round and kept with its answer. */
const MAX_ROWS_A_STREAM = 100_000;

/** It has no column for one of the plan's channels. */
export class MissingChannelError extends Error {}

/**
 * Throws Error saying what is wrong, by line and column, where not all of it is usable: a score on a damaged stream would
 * be a score on other data than its name says.
 */
export function parseHeldOutCsv(stream: string, bytes: Uint8Array, manifest: Manifest): HeldOutStream {
  const csv = parseLabelledCsv(Buffer.from(bytes).toString("utf8"));
  if (csv.rows.length > MAX_ROWS_A_STREAM) throw new Error(`${csv.rows.length} rows; allowed are ${MAX_ROWS_A_STREAM}`);
  if (csv.labels === null) throw new Error("it has no label column: one of anomaly, label, is_anomaly");
  const columns = manifest.channels.map(({ name }) => columnOf(csv, name));
  const head = rowsToCalibrate(manifest);
  if (csv.rows.length <= head)
    throw new Error(`${csv.rows.length} rows, but the first ${head} only calibrate the device`);
  const early = csv.labels.subarray(0, head).indexOf(1);
  if (early >= 0)
    throw new Error(`row ${early + 1} is labelled an anomaly, but the first ${head} rows calibrate the device`);
  return {
    stream,
    sha256: sha256Of(bytes),
    rows: csv.rows.map((row) => Float64Array.from(columns, (column) => row[column] as number)),
    atMs: csv.rows.map((_, index) => csv.atMs?.[index] ?? index * 1000),
    labels: csv.labels,
  };
}

export const sha256Of = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function columnOf(csv: LabelledCsv, channel: string): number {
  const column = csv.channels.indexOf(channel);
  if (column < 0)
    throw new MissingChannelError(`it has no column ${JSON.stringify(channel)}; it has ${csv.channels.join(", ")}`);
  return column;
}
