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
  const x = joined(recentOfEach(devices, maxRows));
  return { x, rows: x.length / featureCount };
}

/** The same a device, oldest row first. */
export function recentOfEach(
  devices: Iterable<{ readonly monitor: DeviceMonitor | null }>,
  maxRows: number,
): Float32Array[] {
  const monitors = Array.from(devices, ({ monitor }) => monitor ?? []).flat();
  const commissioned = monitors.filter((monitor) => monitor.commissioned);
  const share = shareOf(maxRows, commissioned.length);
  return commissioned.slice(0, maxRows).map((monitor) => monitor.calibrationFeatures(share).x);
}

export function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const each of parts) {
    whole.set(each, at);
    at += each.length;
  }
  return whole;
}

/** `x` [labels, featureCount]: of every device the newest labelled rows, shared as `recentFeatures` does. */
export function labelledFeatures(
  devices: Iterable<{ readonly seen: SeenRows | null }>,
  featureCount: number,
  maxRows: number,
): { readonly x: Float32Array; readonly labels: readonly (0 | 1)[] } {
  const rows = labelledOfEach(devices, maxRows).flat();
  const x = new Float32Array(rows.length * featureCount);
  for (const [row, { features }] of rows.entries()) x.set(features, row * featureCount);
  return { x, labels: rows.map(({ label }) => label) };
}

/** The same a device, newest row first. */
export function labelledOfEach(
  devices: Iterable<{ readonly seen: SeenRows | null }>,
  maxRows: number,
): ReturnType<SeenRows["labelled"]>[] {
  const seen = Array.from(devices, (device) => device.seen ?? []).flat();
  const share = shareOf(maxRows, seen.length);
  return seen.slice(0, maxRows).map((each) => each.labelled(share));
}

/** Of the rows, what each of so many devices gives. */
const shareOf = (maxRows: number, devices: number) => Math.max(1, Math.floor(maxRows / Math.max(1, devices)));
