// Values that come one by one, to rows at even times: each channel's last value, as long as it is not stale.
import type { DeviceId } from "../../learning/ids.ts";
import type { Reading } from "../../learning/telemetry/default-mapping.ts";
import { type Refusal, refusal } from "../../learning/telemetry/refusal.ts";
import { type Behind, isSetBack, stepBehind } from "./set-back.ts";

export interface AlignSettings {
  readonly rowEveryMs: number;
  /** A channel whose last value is older is not in a row. */
  readonly staleAfterMs: number;
}

/** One time by two clocks, epoch milliseconds; nobody sets the steady one. */
export interface Now {
  readonly wallMs: number;
  readonly steadyMs: number;
}

interface Value {
  readonly atMs: number;
  readonly value: unknown;
}

interface Channel {
  /** By time; at most one of them is before the last row. */
  values: Value[];
  staleAfterMs: number;
}

interface AlignedDevice {
  readonly channels: Map<string, Channel>;
  readonly units: Map<string, string>;
  rowEveryMs: number;
  nextRowMs: number;
  lastRowMs: number;
  /** Readings one after the other that came too late. */
  behind: Behind | null;
  /** What the device's clock is ahead of the gateway's steady one. */
  aheadMs: number;
  label: (Value & { readonly value: 0 | 1 }) | null;
}

const MAX_DEVICES = 2_000;
const MAX_CHANNELS = 64;
/** Of a channel, one a row: rows that wait, and the one before them. */
const MAX_VALUES = 8;
/** Of one device at once; a device whose time jumps costs no more. */
const MAX_ROWS = 1_000;
/** A time that is further ahead would make all that follows late. */
const MAX_AHEAD_MS = 300_000;
/** Rows wait so long for values that are under way, as a share of their distance. */
const LATENESS = 0.5;
const MAX_LATENESS_MS = 60_000;

/** Bounded in devices, channels and values that wait. */
export class Aligner {
  readonly #devices = new Map<DeviceId, AlignedDevice>();

  /**
   * Null: taken. A device's first row comes when it had time to say each of its channels. `steadyMs`: when it came, by a
   * clock that nobody sets.
   */
  add(reading: Reading, { rowEveryMs, staleAfterMs }: AlignSettings, steadyMs: number): Refusal | null {
    const { deviceId, atMs, receivedAtMs, values, units, label } = reading;
    if (atMs - receivedAtMs > MAX_AHEAD_MS)
      return refusal(
        "out_of_order",
        `the time is ${atMs - receivedAtMs} ms ahead of its arrival; at most ${MAX_AHEAD_MS} may be`,
      );
    const device = this.#devices.get(deviceId) ?? this.#begin(deviceId, atMs, rowEveryMs);
    if (device === null) return refusal("device_limit", `at most ${MAX_DEVICES} devices are aligned`);
    device.rowEveryMs = Math.min(device.rowEveryMs, rowEveryMs);
    device.aheadMs = atMs - steadyMs;
    if (device.nextRowMs === Number.POSITIVE_INFINITY) device.nextRowMs = nextAfter(device, atMs);
    for (const [name, unit] of units)
      if (device.channels.has(name) || device.units.size < MAX_CHANNELS) device.units.set(name, unit);
    if (label !== null) device.label = { atMs, value: label };
    let late = 0;
    for (const [name, value] of values) {
      const channel = device.channels.get(name) ?? beginChannel(device, name);
      if (channel === null) return refusal("too_large", `a device has at most ${MAX_CHANNELS} channels`);
      channel.staleAfterMs = staleAfterMs;
      if (!insert(channel, { atMs, value }, device)) late++;
    }
    device.behind = late > 0 ? stepBehind(device.behind, reading) : null;
    if (device.behind !== null && isSetBack(device.behind)) this.forget(deviceId);
    return late > 0
      ? refusal("out_of_order", `${late} values came after the row of their time, and after newer ones`)
      : null;
  }

  /** What was said is no more: the device is away. */
  forget(deviceId: DeviceId): void {
    this.#devices.delete(deviceId);
  }

  /** The rows that are complete, or wait no longer; without their channels that are stale. */
  due({ wallMs, steadyMs }: Now): Reading[] {
    const rows: Reading[] = [];
    for (const [deviceId, device] of this.#devices) {
      for (let count = 0; count < MAX_ROWS && ready(device, steadyMs); count++) {
        const row = rowAt(deviceId, device, wallMs);
        if (row !== null) rows.push(row);
        step(device, row !== null);
      }
    }
    return rows;
  }

  #begin(deviceId: DeviceId, atMs: number, rowEveryMs: number): AlignedDevice | null {
    if (this.#devices.size >= MAX_DEVICES) return null;
    const nextRowMs = gridAfter(atMs, rowEveryMs) + rowEveryMs;
    const fresh = { lastRowMs: Number.NEGATIVE_INFINITY, behind: null, aheadMs: 0, label: null };
    const device = { channels: new Map(), units: new Map(), rowEveryMs, nextRowMs, ...fresh };
    this.#devices.set(deviceId, device);
    return device;
  }
}

const gridAfter = (atMs: number, everyMs: number) => Math.ceil(atMs / everyMs) * everyMs;

const nextAfter = ({ lastRowMs, rowEveryMs }: AlignedDevice, atMs: number) =>
  Math.max(gridAfter(atMs, rowEveryMs), lastRowMs + rowEveryMs);

const ready = ({ nextRowMs, rowEveryMs, aheadMs }: AlignedDevice, steadyMs: number) =>
  nextRowMs + Math.min(MAX_LATENESS_MS, LATENESS * rowEveryMs) <= steadyMs + aheadMs;

function beginChannel({ channels }: AlignedDevice, name: string): Channel | null {
  if (channels.size >= MAX_CHANNELS) return null;
  const channel = { values: [], staleAfterMs: 0 };
  channels.set(name, channel);
  return channel;
}

/** Of what comes before one row the last value stays. False: it is older than the value that the last row had. */
function insert({ values }: Channel, value: Value, { lastRowMs, rowEveryMs }: AlignedDevice): boolean {
  const at = values.findLastIndex(({ atMs }) => atMs <= value.atMs) + 1;
  const [before, after] = [values[at - 1], values[at]];
  if (before === undefined && after !== undefined && value.atMs <= lastRowMs) return false;
  const rowMs = gridAfter(value.atMs, rowEveryMs);
  if (after !== undefined && gridAfter(after.atMs, rowEveryMs) === rowMs) return true;
  const replaces = before !== undefined && gridAfter(before.atMs, rowEveryMs) === rowMs && before.atMs > lastRowMs;
  values.splice(replaces ? at - 1 : at, replaces ? 1 : 0, value);
  if (values.length > MAX_VALUES) values.shift();
  return true;
}

function rowAt(deviceId: DeviceId, device: AlignedDevice, receivedAtMs: number): Reading | null {
  const atMs = device.nextRowMs;
  const values = new Map<string, unknown>();
  for (const [name, channel] of device.channels) {
    const last = channel.values.findLast((value) => value.atMs <= atMs);
    if (last !== undefined && atMs - last.atMs <= channel.staleAfterMs) values.set(name, last.value);
  }
  if (values.size === 0) return null;
  const said = device.label;
  const label = said !== null && said.atMs > atMs - device.rowEveryMs && said.atMs <= atMs ? said.value : null;
  return { deviceId, atMs, receivedAtMs, values, units: device.units, label };
}

/** To the next row: where nothing was fresh, to the one after the next value; none: until the device speaks again. */
function step(device: AlignedDevice, hadRow: boolean): void {
  const lastRowMs = device.nextRowMs;
  device.lastRowMs = lastRowMs;
  let nextMs = Number.POSITIVE_INFINITY;
  for (const channel of device.channels.values()) {
    const last = channel.values.findLastIndex(({ atMs }) => atMs <= lastRowMs);
    channel.values.splice(0, last);
    nextMs = Math.min(nextMs, channel.values.find(({ atMs }) => atMs > lastRowMs)?.atMs ?? nextMs);
  }
  device.nextRowMs = hadRow ? lastRowMs + device.rowEveryMs : nextAfter(device, nextMs);
}
