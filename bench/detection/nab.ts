// Detector result files as the Numenta Anomaly Benchmark reads them, so that its own scorer can score them.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type EvaluatedRow, evaluateModel } from "../../coordinator/core/evaluate.ts";
import { compilePlan } from "../../learning/compile-plan.ts";
import { rowsBeforeColumns } from "../../learning/front-end.ts";
import type { PlanSettings } from "../../learning/plan.ts";
import { presets } from "../../learning/presets.ts";
import { decodeBundle, encodeBundle } from "../../proto/plan-bundle.ts";
import { PlanModel } from "../../runtime/plan-model.ts";
import { trainFleet } from "./fleet.ts";
import { DEFAULT_RULE } from "./regimes.ts";
import type { BenchStream } from "./streams.ts";

/** NAB's probation: its first 15 % of rows, at most 750, are not scored. Lavin & Ahmad 2015. */
const probationRows = (rows: number) => Math.min(Math.floor(0.15 * rows), 750);

const DETECTORS = { flead_machines: presets.machines, flead_univariate: presets.univariate } as const;

interface NabFile {
  /** Path below data/, such as "realKnownCause/nyc_taxi.csv". */
  readonly path: string;
  readonly timestamps: readonly string[];
  readonly values: readonly string[];
  readonly stream: BenchStream;
}

/**
 * For every file of `folder`/data writes `folder`/results/<detector>/…, for both built-in plans: each file is a device
 * of its own, which learns from its probation alone. Gives the files written.
 */
export async function writeNabResults(folder: string, rounds: number): Promise<string[]> {
  const windows = JSON.parse(await readFile(join(folder, "labels", "combined_windows.json"), "utf8")) as Windows;
  const written: string[] = [];
  const data = join(folder, "data");
  const paths = (await readdir(data, { recursive: true })).filter((path) => path.endsWith(".csv")).toSorted();
  for (const path of paths) {
    const file = await readNabFile(data, path, windows[path] ?? []);
    for (const [detector, preset] of Object.entries(DETECTORS)) {
      const scores = await anomalyScores(file.stream, { ...preset, channels: [{ name: "value", unit: "" }] }, rounds);
      const to = join(folder, "results", detector, dirname(path), `${detector}_${basename(path)}`);
      await mkdir(dirname(to), { recursive: true });
      await writeFile(to, resultFile(file, scores));
      written.push(to);
    }
  }
  return written;
}

type Windows = Readonly<Record<string, readonly (readonly [from: string, to: string])[]>>;

/** NAB's times have no zone; all that counts is their distance. */
const timeOf = (timestamp: string) => Date.parse(`${timestamp.trim().replace(" ", "T")}Z`);

async function readNabFile(data: string, path: string, windows: Windows[string]): Promise<NabFile> {
  const lines = (await readFile(join(data, path), "utf8")).trim().split(/\r?\n/).slice(1);
  const records = lines.map((line) => line.split(","));
  const timestamps = records.map(([timestamp = ""]) => timestamp);
  const values = records.map(([, value = ""]) => value);
  const bad = values.findIndex(
    (value, index) =>
      value.trim() === "" || !Number.isFinite(Number(value)) || Number.isNaN(timeOf(timestamps[index] ?? "")),
  );
  if (bad >= 0) throw new Error(`${path} line ${bad + 2}: ${lines[bad]} is not a time and a number`);
  const atMs = timestamps.map(timeOf);
  const inWindow = (at: number) => (windows ?? []).some(([from, to]) => at >= timeOf(from) && at <= timeOf(to));
  return {
    path,
    timestamps,
    values,
    stream: {
      group: dirname(path),
      stream: path,
      sha256: "",
      rows: values.map((value) => Float64Array.of(Number(value))),
      atMs,
      labels: Uint8Array.from(atMs, (at) => (inWindow(at) ? 1 : 0)),
    },
  };
}

/** In [0, 1), .5 at the device's threshold; an onset plan speaks only where it raises an alarm. */
async function anomalyScores(stream: BenchStream, preset: PlanSettings, rounds: number): Promise<Float64Array> {
  const scores = new Float64Array(stream.rows.length);
  const probation = probationRows(stream.rows.length);
  const rows = probation - rowsBeforeColumns({ ...preset, commissioningRows: probation });
  const plan = { ...preset, commissioningRows: probation, threshold: { ...preset.threshold, rows } };
  const { bytes, planId } = encodeBundle(compilePlan(plan));
  const bundle = decodeBundle(bytes, planId);
  const model = await PlanModel.load(bundle);
  try {
    const trained = await trainFleet({ bundle, model, rule: DEFAULT_RULE, rounds, liars: 0 }, [[stream]]);
    const score = (x: Float32Array, count: number) => model.score(trained.weights, x, count);
    const evaluation = await evaluateModel(bundle.manifest, [stream], score, trained.fleet);
    let before: EvaluatedRow | null = null;
    for (const row of evaluation?.rows ?? []) {
      const speaks = plan.alarm.kind === "lasting" || (row.alarm === 1 && before?.alarm !== 1);
      if (speaks) scores[row.rowIndex] = row.score / (row.score + row.threshold);
      before = row;
    }
  } finally {
    await model.release();
  }
  return scores;
}

function resultFile({ timestamps, values, stream }: NabFile, scores: Float64Array): string {
  const lines = timestamps.map((timestamp, i) => [timestamp, values[i], scores[i], stream.labels[i]].join(","));
  return `${["timestamp,value,anomaly_score,label", ...lines].join("\n")}\n`;
}
