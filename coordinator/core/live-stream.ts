// A live stream's stored windows as a held-out stream: what a device would have met that was new when the first began.
import { mayLackChannels } from "../../learning/front-end.ts";
import { rowsToCalibrate } from "../../learning/monitor.ts";
import type { Manifest } from "../../learning/plan.ts";
import { type HeldOutStream, UNLABELLED } from "./evaluate.ts";
import type { LiveRow } from "./live-windows.ts";

/** Of a stream: what a device's reference, thresholds and quality come from. */
export const KEPT_WINDOWS = 24;

/** No device is called so: ids have no slash. */
export const liveStreamName = (device: string) => `live/${device}`;

interface Content {
  readonly channels: readonly string[];
  readonly rows: readonly LiveRow[];
}

/**
 * `windows` by time. A text says why they can't be evaluated. As a frozen stream's, its head must not hold an
 * anomaly: it begins after the last one that would be in it. A window that lacks a channel of the plan is of another plan.
 */
export function liveStream(
  manifest: Manifest,
  device: string,
  sha256: string,
  windows: readonly Content[],
): HeldOutStream | string {
  const rows = windows.flatMap((window) => rowsOf(manifest, window));
  const head = rowsToCalibrate(manifest);
  let from = 0;
  for (let index = 0; index < Math.min(rows.length, from + head); index++)
    if (rows[index]?.label === 1) from = index + 1;
  const used = rows.slice(from);
  if (used.length <= head) {
    const since = from > 0 ? " since an anomaly" : "";
    return `${used.length} rows are stored${since}, and the first ${head} calibrate the device`;
  }
  if (used.slice(head).every(({ label }) => label === null)) return "no stored row has a label";
  return {
    stream: liveStreamName(device),
    sha256,
    live: true,
    rows: used.map(({ values }) => values),
    atMs: used.map(({ atMs }) => atMs),
    labels: Uint8Array.from(used, ({ label }) => label ?? UNLABELLED),
  };
}

function rowsOf({ channels, features }: Manifest, window: Content): LiveRow[] {
  const columns = channels.map(({ name }) => window.channels.indexOf(name));
  if (columns.includes(-1)) return [];
  const mayLack = mayLackChannels(features);
  return window.rows
    .map((row) => ({ ...row, values: Float64Array.from(columns, (column) => Number(row.values[column])) }))
    .filter(({ values }) => mayLack || values.every(Number.isFinite));
}
