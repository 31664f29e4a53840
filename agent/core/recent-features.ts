// What a training goes over that learns from all of the devices' recent good rows.
import type { DeviceMonitor } from "../../learning/monitor.ts";

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
