// Recent rows of all devices: what a training goes over that learns from good ones, and what a model is tried on.
import type { DeviceMonitor } from "../../learning/monitor.ts";
import type { SeenRows } from "./seen-rows.ts";

/**
 * `x` [rows, featureCount]: of every device the newest calibration rows, as many as fit when all get the same share of
 * `maxRows`.
 */
export function recentFeatures(
  devices: Iterable<{ readonly monitor: DeviceMonitor | null }>,
  featureCount: number,
  maxRows: number,
): { readonly x: Float32Array; readonly rows: number } {
  const monitors = Array.from(devices, ({ monitor }) => monitor).filter((monitor) => monitor?.commissioned);
  const share = Math.max(1, Math.floor(maxRows / Math.max(1, monitors.length)));
  const newest = monitors
    .slice(0, maxRows)
    .map((monitor) => monitor?.calibrationFeatures(share).x ?? new Float32Array(0));
  const x = new Float32Array(newest.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const rows of newest) {
    x.set(rows, at);
    at += rows.length;
  }
  return { x, rows: x.length / featureCount };
}

/** `x` [labels, featureCount]: of every device the newest labelled rows, shared as `recentFeatures` does. */
export function labelledFeatures(
  devices: Iterable<{ readonly seen: SeenRows | null }>,
  featureCount: number,
  maxRows: number,
): { readonly x: Float32Array; readonly labels: readonly (0 | 1)[] } {
  const seen = Array.from(devices, (device) => device.seen ?? []).flat();
  const share = Math.max(1, Math.floor(maxRows / Math.max(1, seen.length)));
  const rows = seen.slice(0, maxRows).flatMap((each) => each.labelled(share));
  const x = new Float32Array(rows.length * featureCount);
  for (const [row, { features }] of rows.entries()) x.set(features, row * featureCount);
  return { x, labels: rows.map(({ label }) => label) };
}
