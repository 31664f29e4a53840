// The calibration rows of devices, put together so that a model scores those of many in one run.
import type { Device } from "./device.ts";

/** Bounds the memory of one run. */
const ROWS_A_GROUP = 1_000;

export interface CalibrationGroup {
  readonly x: Float32Array;
  readonly rows: number;
  readonly members: readonly { readonly device: Device; readonly rows: number }[];
}

/** The calibration rows of many devices side by side, so that one run scores them all. */
export function* calibrationGroups(devices: Iterable<Device>, featureCount: number): Generator<CalibrationGroup> {
  let members: { device: Device; x: Float32Array; rows: number }[] = [];
  let rows = 0;
  const flush = () => {
    const x = new Float32Array(rows * featureCount);
    let at = 0;
    for (const member of members) {
      x.set(member.x, at);
      at += member.x.length;
    }
    const group = { x, rows, members };
    members = [];
    rows = 0;
    return group;
  };
  for (const device of devices) {
    const own = device.monitor?.calibrationFeatures();
    if (own === undefined || own.rows === 0) continue;
    if (rows > 0 && rows + own.rows > ROWS_A_GROUP) yield flush();
    members.push({ device, ...own });
    rows += own.rows;
  }
  if (rows > 0) yield flush();
}
