// Plant recordings as held-out streams: rows with the faults that the plant knows it made.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPump, PLANT_CHANNELS } from "../../cli/demo/plant.ts";
import type { HeldOutStream } from "../../coordinator/core/evaluate.ts";

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

export function writeCsv(folder: string, stream: HeldOutStream): void {
  mkdirSync(folder, { recursive: true });
  const header = ["timestamp", ...PLANT_CHANNELS.map(({ name }) => name), "anomaly"].join(",");
  const lines = stream.rows.map((row, index) =>
    [new Date(stream.atMs[index] ?? 0).toISOString(), ...row, stream.labels[index]].join(","),
  );
  writeFileSync(join(folder, `${stream.stream}.csv`), `${[header, ...lines].join("\n")}\n`);
}
