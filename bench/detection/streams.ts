// Labelled streams to benchmark on: SKAB's files, or the demo's plant where no data is at hand.
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { createPump, PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import type { HeldOutStream } from "../../coordinator/core/evaluate.ts";
import type { Channel } from "../../learning/plan.ts";
import { parseLabelledCsv } from "../../runtime/labelled-csv.ts";

export interface BenchStream extends HeldOutStream {
  readonly group: string;
}

export interface Dataset {
  readonly channels: readonly Channel[];
  readonly streams: readonly BenchStream[];
  /** Groups that no gateway trains in: their devices only use what the fleet has learned. */
  readonly onlyEvaluated: ReadonlySet<string>;
}

const ANOMALY_FREE = "anomaly-free";

/** Every folder of `folder` is a group, or only those named; the anomaly-free file is always there, as a device that comes later. */
export async function skab(folder: string, groups: readonly string[] | "all"): Promise<Dataset> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const wanted = groups === "all" ? found : [...groups, ANOMALY_FREE];
  const missing = wanted.find((group) => !found.includes(group));
  if (missing !== undefined) throw new Error(`${folder} has no folder ${missing}; it has ${found.join(", ")}`);
  let names: readonly string[] = [];
  const streams: BenchStream[] = [];
  for (const group of wanted.toSorted()) {
    const files = (await readdir(join(folder, group))).filter((name) => name.endsWith(".csv"));
    for (const file of files.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))) {
      const bytes = await readFile(join(folder, group, file));
      const csv = parseLabelledCsv(bytes.toString("utf8"));
      names = csv.channels;
      streams.push({
        group,
        stream: `${group}/${basename(file, ".csv")}`,
        sha256: createHash("sha256").update(bytes).digest("hex"),
        rows: csv.rows.map((row) => Float64Array.from(row)),
        atMs: csv.atMs ?? csv.rows.map((_, index) => index * 1000),
        labels: csv.labels ?? new Uint8Array(csv.rows.length),
      });
    }
  }
  const channels = names.map((name) => ({ name, unit: "" }));
  return { channels, streams, onlyEvaluated: new Set([ANOMALY_FREE]) };
}

const PUMPS = 12;
const HEALTHY_PUMPS = 4;
const HEAD_ROWS = 400;

/** Pumps with injected faults, and pumps that never have one; no fault in the first 400 rows. */
export function plant(rows: number): Dataset {
  const streams = Array.from({ length: PUMPS + HEALTHY_PUMPS }, (_, pumpIndex) => {
    const group = pumpIndex < PUMPS ? "plant" : "plant-healthy";
    const firstFaultAfterRows = pumpIndex < PUMPS ? HEAD_ROWS + 100 : Number.POSITIVE_INFINITY;
    const pump = createPump({ seed: 7, pumpIndex, startMs: 0, firstFaultAfterRows, faultEveryRows: 600 });
    const recorded = Array.from({ length: rows }, () => pump.next());
    return {
      group,
      stream: `${group}/${pumpIndex}`,
      sha256: "",
      rows: recorded.map(({ values }) => values),
      atMs: recorded.map(({ atMs }) => atMs),
      labels: Uint8Array.from(recorded, ({ fault }) => (fault === null ? 0 : 1)),
    };
  });
  return { channels: PLANT_CHANNELS, streams, onlyEvaluated: new Set(["plant-healthy"]) };
}
