// Held-out streams from a folder of labelled CSV files: <folder>/<cohort>/<stream>.csv.
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { deviceId } from "../../learning/ids.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { type LabelledCsv, parseLabelledCsv } from "../../runtime/labelled-csv.ts";
import type { HeldOutStream } from "../core/evaluate.ts";

const MAX_STREAMS = 1000;
/** Every row is scored in every round and kept with its answer. */
const MAX_ROWS_A_STREAM = 100_000;
const MAX_FILE_BYTES = 64 * 1024 * 1024;

/**
 * Reads every stream of one cohort. A file that is not wholly usable is left out and given to `refused`: a score on a
 * damaged stream would be a score on other data than its name says.
 */
export async function readHeldOutStreams(
  folder: string,
  cohort: string,
  manifest: Manifest,
  refused: (file: string, why: string) => void,
): Promise<HeldOutStream[]> {
  const from = join(folder, cohort);
  const names = await readdir(from).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    refused(from, "there is no such folder: the cohort's candidates are not evaluated");
    return [];
  });
  const files = names.filter((name) => name.toLowerCase().endsWith(".csv")).sort();
  for (const name of files.splice(MAX_STREAMS))
    refused(join(from, name), `only ${MAX_STREAMS} streams a cohort are read`);
  const streams: HeldOutStream[] = [];
  for (const name of files) {
    const file = join(from, name);
    try {
      streams.push(await readStream(file, manifest));
    } catch (error) {
      refused(file, (error as Error).message);
    }
  }
  return streams;
}

async function readStream(file: string, manifest: Manifest): Promise<HeldOutStream> {
  const { size } = await stat(file);
  if (size > MAX_FILE_BYTES) throw new Error(`${size} bytes; allowed are ${MAX_FILE_BYTES}`);
  const bytes = await readFile(file);
  const csv = parseLabelledCsv(bytes.toString("utf8"));
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
    stream: deviceId(basename(file).replace(/\.csv$/i, "")),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    rows: csv.rows.map((row) => Float64Array.from(columns, (column) => row[column] as number)),
    atMs: csv.rows.map((_, index) => csv.atMs?.[index] ?? index * 1000),
    labels: csv.labels,
  };
}

function columnOf(csv: LabelledCsv, channel: string): number {
  const column = csv.channels.indexOf(channel);
  if (column < 0) throw new Error(`it has no column ${JSON.stringify(channel)}; it has ${csv.channels.join(", ")}`);
  return column;
}
